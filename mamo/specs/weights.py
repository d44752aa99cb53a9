"""Starting weights: published ones by name, or small stand-ins trained by the workbench (section 3.1)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.pretrain import Precision

TEACHER_STRIDE = 32  # pixels of its input for each vector of a convolutional teacher's last map


class TrainingSpec(Spec):
    """A short supervised or self-supervised stage that makes small starting weights."""

    steps: int = Field(300, gt=0)
    batch_size: int = Field(64, gt=0)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_share: float = Field(0.1, ge=0, le=1)
    precision: Precision = "bf16"
    seed: int = Field(0, ge=0, lt=2**48)


class TeacherSpec(Spec):
    """A convolutional network that the image encoder learns from, and what is shown of each photo."""

    architecture: str = Field(
        "tf_efficientnet_lite0",
        description="timm's name of an EfficientNet, whose last map has one vector for each 32 pixels",
    )
    image_size: int = Field(
        224, gt=0, description="side of the teacher's input in pixels: 32 for each patch of the model"
    )
    crops: int = Field(
        1, ge=0, description="random crops of each photo that the teacher sees beside the whole photo"
    )
    crop_scale: tuple[float, float] = Field((0.3, 1.0), description="share of a photo that a crop keeps")
    window: float = Field(
        0.6, gt=0, le=1, description="least share of a crop that the encoder sees, on the crop's own map"
    )
    visible: float = Field(
        0.5, gt=0, le=1, description="share of the patches that the encoder sees in half of the steps"
    )
    logits: float = Field(
        0.0, ge=0, description="weight of the divergence from the teacher's 1,000 ImageNet classes"
    )

    @model_validator(mode="after")
    def _ranges(self) -> TeacherSpec:
        if self.image_size % TEACHER_STRIDE:
            raise ValueError(
                f"image_size {self.image_size} is no multiple of {TEACHER_STRIDE}, the stride of the teacher's last map"
            )
        if not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {list(self.crop_scale)}: needs 0 < min <= max <= 1")
        return self


class VisionWeightsSpec(Spec):
    """Where the image encoder starts."""

    source: Literal["timm", "naming", "distilled", "scratch"] = Field(
        "timm",
        description="timm: published weights; naming: trained to name the world's objects; distilled: trained on the photos of "
        "pretrain.data to see what an ImageNet-trained convolutional network sees; scratch: random",
    )
    name: str | None = Field(
        "vit_base_patch16_224.augreg_in1k",
        description="timm's name (ImageNet-trained ViT-B/16); distilled: a file with the teacher's weights, null: those "
        "that the extra `photos` installs",
    )
    training: TrainingSpec | None = None
    teacher: TeacherSpec | None = Field(None, description="distilled: what is learned from")
    image_sizes: tuple[Annotated[int, Field(gt=0)], ...] = Field(
        (), description="naming: sides at which images are met in turn, in pixels; none: the model's own only"
    )


class TextWeightsSpec(Spec):
    """Where tokenizer, text encoder and fusion encoder start."""

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
            if part.source in ("naming", "distilled", "mlm", "dvae") and part.training is None:
                raise ValueError(f"weights.{role}: source {part.source} needs a training section")
        if (self.vision.source == "distilled") != (self.vision.teacher is not None):
            raise ValueError("weights.vision: source distilled, and it alone, needs a teacher section")
        return self
