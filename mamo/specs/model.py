"""The shape of the network f (paper section 3.1); the defaults are ViT-B/16 and BERT-base."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.names import nearest
from mamo.specs.source import chosen, given, own


class Stem(NamedTuple):
    """A convolutional network up to its last map at stride 16, for plans that count it without building it."""

    channels: int
    """Of the map."""
    multiplications: int
    """For each place of the map."""
    parameters: int
    """With batch norms folded into the convolutions."""


STEM_STRIDE = 16  # pixels for each place of the map
STEMS = {
    "tf_efficientnet_lite0": Stem(112, 1_241_168, 692_688),
    "tf_efficientnet_lite1": Stem(112, 1_721_744, 977_872),
    "tf_efficientnet_lite2": Stem(120, 1_965_968, 1_149_128),
}


class ModelSpec(Spec):
    """Architecture of the image encoder, the text encoder and the fusion encoder."""

    ACTS_IN: ClassVar = "model/mamo.py"

    image_size: Annotated[int, given("4.2", "model/vision.py")] = Field(
        224, ge=1, description="side of the input image in pixels"
    )
    patch_size: Annotated[int, given("3.1")] = Field(
        16, ge=1, description="side of a patch in pixels (ViT-B/16)"
    )
    width: Annotated[int, given("3.1")] = Field(768, ge=1, description="width of every encoder")
    heads: Annotated[int, given("3.1")] = Field(12, ge=1, description="attention heads of every encoder")
    vision_layers: Annotated[int, given("3.1")] = Field(12, ge=1, description="layers of the image encoder")
    text_layers: Annotated[int, given("3.1")] = Field(
        6, ge=1, description="first layers of BERT: the text encoder"
    )
    fusion_layers: Annotated[int, given("3.1")] = Field(
        6, ge=1, description="last layers of BERT: the fusion encoder"
    )
    mlp_ratio: Annotated[float, given("3.1")] = Field(
        4.0, gt=0, description="hidden width of the feed-forward blocks over width"
    )
    dropout: Annotated[float, chosen("BERT", "model/transformer.py")] = Field(
        0.1, ge=0, lt=1, description="dropout of the BERT layers, as in BERT-base; the ViT has none"
    )
    projection_width: Annotated[int, chosen("ALBEF, X-VLM")] = Field(
        256, ge=1, description="width of the ITC projections: one linear map each, to unit length"
    )
    temperature: Annotated[float, chosen("ALBEF")] = Field(0.07, gt=0, description="initial ITC temperature")
    temperature_range: Annotated[tuple[float, float], chosen("ALBEF")] = Field(
        (0.001, 0.5), description="clamp of the learned temperature after each step"
    )
    max_words: Annotated[int, chosen("X-VLM", "data/tokenizer.py")] = Field(
        40,
        ge=3,
        le=512,
        description="tokens of a text, question or answer with [CLS] and [SEP]; longer ones are cut (512: BERT's positions)",
    )
    fusion_positions: Annotated[
        Literal["normal", "sincos"], chosen("ViT; MAE's decoder", "model/fusion.py")
    ] = Field(
        "normal",
        description="how the positions added to visual tokens before fusion start: normal with deviation 0.02 (ViT), or 2-D "
        "sines and cosines, which are as large as the features; learned afterwards either way",
    )

    stem: Annotated[
        str | None,
        own("where no ViT is at hand that photographs trained, a convolutional network is", "model/stem.py"),
    ] = Field(
        None,
        description="timm's name of a convolutional network that, frozen, sees each patch by itself; what it sees is embedded "
        "in place of the pixels",
    )

    @model_validator(mode="after")
    def _divisible(self) -> ModelSpec:
        if self.stem is not None and self.stem not in STEMS:
            raise ValueError(f"stem: there is no '{self.stem}'{nearest(self.stem, STEMS)}")
        if self.stem is not None and self.patch_size % STEM_STRIDE:
            raise ValueError(
                f"stem {self.stem} has a map of stride {STEM_STRIDE}: set patch_size to a multiple of it"
            )
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.fusion_positions == "sincos" and self.width % 4:
            raise ValueError(f"width {self.width}: sincos positions need a multiple of 4")
        if self.width * self.mlp_ratio < 1:
            raise ValueError(f"mlp_ratio {self.mlp_ratio} of width {self.width} leaves no unit")
        least, most = self.temperature_range
        if not 0 < least <= self.temperature <= most:
            raise ValueError(
                f"temperature {self.temperature} is not within temperature_range {list(self.temperature_range)}, whose ends "
                "are above 0"
            )
        return self
