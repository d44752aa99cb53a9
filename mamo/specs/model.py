"""The shape of the network f (paper section 3.1); the defaults are ViT-B/16 and BERT-base."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec


class ModelSpec(Spec):
    """Architecture of the image encoder, the text encoder and the fusion encoder."""

    image_size: int = Field(224, ge=1, description="side of the input image in pixels (section 4.2)")
    patch_size: int = Field(16, ge=1, description="side of a patch in pixels (ViT-B/16)")
    width: int = Field(768, ge=1, description="width of every encoder")
    heads: int = Field(12, ge=1, description="attention heads of every encoder")
    vision_layers: int = Field(12, ge=1, description="layers of the image encoder")
    text_layers: int = Field(6, ge=1, description="first layers of BERT: the text encoder (section 3.1)")
    fusion_layers: int = Field(6, ge=1, description="last layers of BERT: the fusion encoder (section 3.1)")
    mlp_ratio: float = Field(4.0, gt=0, description="hidden width of the feed-forward blocks over width")
    dropout: float = Field(0.1, ge=0, lt=1, description="dropout of the BERT layers, as in BERT-base")
    projection_width: int = Field(256, ge=1, description="width of the ITC projections (ALBEF, X-VLM)")
    temperature: float = Field(0.07, gt=0, description="initial ITC temperature (ALBEF)")
    temperature_range: tuple[float, float] = Field(
        (0.001, 0.5), description="clamp of the learned temperature (ALBEF)"
    )
    max_words: int = Field(
        40,
        ge=3,
        le=512,
        description="tokens of a text with [CLS] and [SEP]; longer texts are cut (512: BERT's positions)",
    )
    fusion_positions: Literal["normal", "sincos"] = Field(
        "normal",
        description="how the positions added to visual tokens before fusion start: normal with deviation 0.02 (ViT), or 2-D "
        "sines and cosines, which are as large as the features; learned afterwards either way",
    )

    @model_validator(mode="after")
    def _divisible(self) -> ModelSpec:
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
