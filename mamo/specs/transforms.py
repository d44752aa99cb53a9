"""Image transforms for training and evaluation (paper section 4.2; details from ALBEF)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.source import chosen, given


class RandAugmentSpec(Spec):
    """RandAugment over ALBEF's ten operations."""

    ACTS_IN: ClassVar = "data/batches/transforms.py"

    n: Annotated[int, chosen("ALBEF")] = Field(
        default=2, ge=1, description="operations drawn per image, with replacement"
    )
    m: Annotated[float, chosen("ALBEF")] = Field(
        default=7, ge=0, le=10, description="magnitude on the scale 0-10"
    )
    probability: Annotated[float, chosen("ALBEF")] = Field(
        default=0.5, ge=0, le=1, description="chance that a drawn operation is applied (ALBEF)"
    )
    translate: Annotated[float, chosen("ALBEF")] = Field(
        default=10, ge=0, description="shift in pixels at magnitude 10"
    )
    fill: Annotated[int, chosen("ALBEF")] = Field(
        default=128, ge=0, le=255, description="grey value of pixels from outside the image (ALBEF)"
    )


class TransformSpec(Spec):
    """Random crop, flip, RandAugment, normalisation; evaluation only resizes and normalises."""

    ACTS_IN: ClassVar = "data/batches/transforms.py"

    size: Annotated[int, given("4.2, appendix A")] = Field(
        default=224, gt=0, description="side of the model's input in pixels"
    )
    crop_scale: Annotated[tuple[float, float] | None, chosen("ALBEF; none for grounding: appendix A")] = (
        Field(
            default=(0.2, 1.0),
            description="share of the image's area that a random crop keeps; null: resize only, as for grounding",
        )
    )
    crop_ratio: Annotated[tuple[float, float], chosen("ALBEF")] = Field(
        default=(3 / 4, 4 / 3), description="width over height of a random crop"
    )
    flip: Annotated[float, chosen("ALBEF; the rule from its VQA")] = Field(
        default=0.5, ge=0, le=1, description="chance of a flip; never if the text says left or right"
    )
    randaugment: RandAugmentSpec | None = Field(default_factory=RandAugmentSpec, description="null: none")
    interpolation: Annotated[Literal["bicubic", "bilinear"], chosen("ALBEF")] = Field(
        default="bicubic", description="of every resize (ALBEF)"
    )
    mean: Annotated[tuple[float, float, float], chosen("ALBEF")] = Field(
        default=(0.48145466, 0.4578275, 0.40821073),
        description="CLIP's RGB mean, whatever the starting weights were trained with",
    )
    std: Annotated[tuple[float, float, float], chosen("ALBEF")] = Field(
        default=(0.26862954, 0.26130258, 0.27577711), description="CLIP's RGB deviation"
    )

    @property
    def repeats(self) -> bool:
        """Whether an image looks the same in every epoch, or mirrored."""
        return self.crop_scale is None and self.randaugment is None

    @model_validator(mode="after")
    def _ranges(self) -> TransformSpec:
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {self.crop_scale}: needs 0 < min <= max <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio {self.crop_ratio}: needs 0 < min <= max")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std}: every value must be positive")
        return self
