"""Starting weights: published ones by name, or small stand-ins trained by the workbench (section 3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.pretrain import Precision


class TrainingSpec(Spec):
    """A short supervised or self-supervised stage that makes small starting weights."""

    steps: int = Field(300, gt=0)
    batch_size: int = Field(64, gt=0)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: float = Field(0.1, ge=0, le=1)
    precision: Precision = "bf16"
    seed: int = Field(0, ge=0, lt=2**48)


class VisionWeightsSpec(Spec):
    """Starting weights of the image encoder."""

    source: Literal["timm", "naming", "scratch"] = Field(
        "timm",
        description="timm: published weights; naming: trained to name the world's objects; scratch: random",
    )
    name: str | None = Field(
        "vit_base_patch16_224.augreg_in1k", description="timm's name (ImageNet-trained ViT-B/16)"
    )
    training: TrainingSpec | None = None
    image_sizes: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        (), description="naming: image sides used in turn, in pixels; none: only the model's own"
    )


class TextWeightsSpec(Spec):
    """Starting weights of tokenizer, text encoder and fusion encoder."""

    source: Literal["transformers", "mlm"] = Field(
        "transformers", description="transformers: published BERT; mlm: trained by masked language modelling"
    )
    name: str | None = Field("bert-base-uncased", description="the published model's name")
    vocab_size: int = Field(
        1000, gt=0, description="entries of a WordPiece vocabulary trained here (mlm only)"
    )
    training: TrainingSpec | None = None


class VisualTokensSpec(Spec):
    """The discrete tokeniser whose codes are MIM's target in Table 8."""

    source: Literal["transformers", "dvae"] = Field(
        "transformers", description="transformers: DALL-E's published encoder; dvae: a small one trained here"
    )
    name: str | None = Field("facebook/flava-image-codebook", description="the published model's name")
    codes: int = Field(8192, gt=1, description="size of the codebook")
    training: TrainingSpec | None = None


class WeightsSpec(Spec):
    """The three sets of starting weights."""

    vision: VisionWeightsSpec = Field(default_factory=VisionWeightsSpec)
    text: TextWeightsSpec = Field(default_factory=TextWeightsSpec)
    visual_tokens: VisualTokensSpec = Field(default_factory=VisualTokensSpec)

    @model_validator(mode="after")
    def _complete(self) -> WeightsSpec:
        for role, part in (
            ("vision", self.vision),
            ("text", self.text),
            ("visual_tokens", self.visual_tokens),
        ):
            if part.source in ("timm", "transformers") and not part.name:
                raise ValueError(f"weights.{role}: source {part.source} needs a name")
            if part.source in ("naming", "mlm", "dvae") and part.training is None:
                raise ValueError(f"weights.{role}: source {part.source} needs a training section")
        return self
