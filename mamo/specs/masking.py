"""What is masked in an image and in a text (paper section 4.2)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mamo.specs.base import Spec
from mamo.specs.source import chosen, given

MaskedUnit = Literal["subword", "whole_word", "span"]


class MaskingSpec(Spec):
    """Masking of images and texts (section 4.2)."""

    ACTS_IN: ClassVar = "objectives/masking.py"

    image_ratio: Annotated[float, given("4.2")] = Field(
        0.75, gt=0, lt=1, description="share of patches removed from the masked image, rounded (MAE)"
    )
    text_ratio: Annotated[float, given("4.2")] = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of sub-words chosen in the masked text, rounded, at least one; never a special token",
    )
    replace_mask: Annotated[float, given("4.2")] = Field(
        0.8, ge=0, le=1, description="share of chosen sub-words that become [MASK]"
    )
    replace_random: Annotated[float, given("4.2")] = Field(
        0.1, ge=0, le=1, description="share that become a random sub-word"
    )
    unit: Annotated[MaskedUnit, chosen("ours; later BERT; SpanBERT")] = Field(
        "subword", description="what is chosen as a whole: sub-words (the paper), words, or runs of words"
    )
    span_words: Annotated[float, chosen("ours")] = Field(
        3.8,
        ge=1,
        description="mean words of a span, whose lengths are geometric; read only where unit is span",
    )
