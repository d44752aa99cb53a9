"""Image transforms for training and evaluation (paper section 4.2; details from ALBEF)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec


class RandAugmentSpec(Spec):
    """RandAugment over ALBEF's ten operations."""

    n: int = Field(default=2, ge=1, description="operations drawn per image, with replacement (ALBEF)")
    m: float = Field(default=7, ge=0, le=10, description="magnitude on the scale 0-10 (ALBEF)")
    probability: float = Field(
        default=0.5, ge=0, le=1, description="chance that a drawn operation is applied (ALBEF)"
    )
    translate: float = Field(default=10, ge=0, description="shift in pixels at magnitude 10 (ALBEF)")
    fill: int = Field(
        default=128, ge=0, le=255, description="grey value of pixels from outside the image (ALBEF)"
    )


class TransformSpec(Spec):
    """Random crop, flip, RandAugment, normalisation; evaluation only resizes and normalises."""

    size: int = Field(default=224, gt=0, description="side of the model's input in pixels (section 4.2)")
    crop_scale: tuple[float, float] | None = Field(
        default=(0.2, 1.0),
        description="share of the image's area that a random crop keeps (ALBEF); null: resize only",
    )
    crop_ratio: tuple[float, float] = Field(
        default=(3 / 4, 4 / 3), description="width over height of a random crop"
    )
    flip: float = Field(
        default=0.5, ge=0, le=1, description="chance of a flip; never if the text says left or right"
    )
    randaugment: RandAugmentSpec | None = Field(default_factory=RandAugmentSpec, description="null: none")
    interpolation: Literal["bicubic", "bilinear"] = Field(
        default="bicubic", description="of every resize (ALBEF)"
    )
    mean: tuple[float, float, float] = Field(
        default=(0.48145466, 0.4578275, 0.40821073), description="CLIP's RGB mean"
    )
    std: tuple[float, float, float] = Field(
        default=(0.26862954, 0.26130258, 0.27577711), description="CLIP's RGB deviation"
    )

    @model_validator(mode="after")
    def _ranges(self) -> TransformSpec:
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {self.crop_scale}: needs 0 < min <= max <= 1")
        if not 0 < self.crop_ratio[0] <= self.crop_ratio[1]:
            raise ValueError(f"crop_ratio {self.crop_ratio}: needs 0 < min <= max")
        if min(self.std) <= 0:
            raise ValueError(f"std {self.std}: every value must be positive")
        return self
