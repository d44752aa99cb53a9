"""Starting weights: published ones by name, or small stand-ins trained by the workbench (section 3.1)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.model import STEM_STRIDE
from mamo.specs.pretrain import Precision
from mamo.specs.source import chosen, given, own

STARTS = own(
    "where starting weights come from: published ones at the paper's scale, stand-ins that are trained here at small ones"
)
WITHOUT_A_VIT = (
    "the paper has an ImageNet-trained ViT; where there is none, a small one learns from another network"
)
DISTILLED = own(WITHOUT_A_VIT)
TEACHER_STRIDE = STEM_STRIDE  # a teacher is a network of the same kind as a stem


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

    ACTS_IN: ClassVar = "data/batches/photo_views.py"

    architecture: Annotated[str, own(WITHOUT_A_VIT, "model/teacher.py")] = Field(
        "tf_efficientnet_lite0",
        description="timm's name of an EfficientNet, whose last map has one vector for each 32 pixels",
    )
    image_size: Annotated[int, own(WITHOUT_A_VIT, "runs/teacher_maps.py")] = Field(
        224, gt=0, description="side of the teacher's input in pixels: 32 for each patch of the model"
    )
    crops: Annotated[int, DISTILLED] = Field(
        1, ge=0, description="random crops of each photo that the teacher sees beside the whole photo"
    )
    crop_scale: Annotated[tuple[float, float], DISTILLED] = Field(
        (0.3, 1.0), description="share of a photo that a crop keeps"
    )
    window: Annotated[float, DISTILLED] = Field(
        0.6, gt=0, le=1, description="least share of a crop that the encoder sees, on the crop's own map"
    )
    visible: Annotated[float, DISTILLED] = Field(
        0.5, gt=0, le=1, description="share of the patches that the encoder sees in half of the steps"
    )
    logits: Annotated[float, own(WITHOUT_A_VIT, "tasks/photo_distillation.py")] = Field(
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
    """Starting weights of the image encoder."""

    ACTS_IN: ClassVar = "runs/make_weights.py"

    source: Annotated[Literal["timm", "naming", "distilled", "scratch"], STARTS] = Field(
        "timm",
        description="timm: published weights; naming: trained to name the world's objects; distilled: trained on the photos of "
        "pretrain.data to see what an ImageNet-trained convolutional network sees; scratch: random",
    )
    name: Annotated[str | None, chosen("ours; ALBEF takes DeiT-B")] = Field(
        "vit_base_patch16_224.augreg_in1k",
        description="timm's name (ImageNet-trained ViT-B/16); distilled: a file with the teacher's weights, null: those "
        "that the extra `photos` installs",
    )
    training: Annotated[TrainingSpec | None, STARTS] = None
    teacher: Annotated[TeacherSpec | None, STARTS] = Field(
        None, description="distilled: what is learned from"
    )
    image_sizes: Annotated[tuple[Annotated[int, Field(gt=0)], ...], STARTS] = Field(
        (), description="naming: image sides used in turn, in pixels; none: only the model's own"
    )


class TextWeightsSpec(Spec):
    """Starting weights of tokenizer, text encoder and fusion encoder."""

    ACTS_IN: ClassVar = "runs/make_weights.py"

    source: Annotated[Literal["transformers", "mlm"], STARTS] = Field(
        "transformers", description="transformers: published BERT; mlm: trained by masked language modelling"
    )
    name: Annotated[str | None, chosen("ALBEF")] = Field(
        "bert-base-uncased", description="the published model's name: layers 1-6 text, 7-12 fusion"
    )
    vocab_size: Annotated[int, STARTS] = Field(
        1000, gt=0, description="entries of a WordPiece vocabulary trained here (mlm only)"
    )
    training: Annotated[TrainingSpec | None, STARTS] = None


class VisualTokensSpec(Spec):
    """The discrete tokeniser whose codes are MIM's target in Table 8."""

    ACTS_IN: ClassVar = "runs/make_weights.py"

    source: Annotated[Literal["transformers", "dvae"], STARTS] = Field(
        "transformers", description="transformers: DALL-E's published encoder; dvae: a small one trained here"
    )
    name: Annotated[str | None, given("4.5")] = Field(
        "facebook/flava-image-codebook",
        description="the published model's name: DALL-E's encoder, at 8 pixels per patch",
    )
    codes: Annotated[int, STARTS] = Field(8192, gt=1, description="size of the codebook")
    training: Annotated[TrainingSpec | None, STARTS] = None


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
