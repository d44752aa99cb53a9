"""Attention times the positive part of its gradient (Grad-CAM on attention maps, as in ALBEF), in plain torch.

Grounding scores thousands of texts with it. Figures take the same maps from :mod:`mamo.explain.attention_gradcam`, which
gets them through pytorch-grad-cam; tests hold the two equal.

Shapes: B pairs, N = g * g patches, L sub-words, T = 1 + N + L tokens of the sequence [class token ; patches ; sub-words].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from mamo.model.mamo import Mamo
from mamo.model.transformer import Attention, PostNormLayer


class Relevance(NamedTuple):
    """Attention between tokens of the two modalities; not negative, and not normalised."""

    words_on_patches: Tensor
    """(B, L, g, g): for every text token, a map over the image."""
    patches_on_words: Tensor
    """(B, N, L): for every patch, the text tokens."""


def fusion_attention(network: Mamo, layer: int) -> Attention:
    """Return the self-attention of a fusion layer, counted from 1 as in the paper.

    Raises:
        ValueError: there is no such layer.
    """
    layers = network.fusion.layers
    if not 1 <= layer <= len(layers):
        raise ValueError(
            f"layer {layer}: the fusion encoder has layers 1 to {len(layers)}; set layer to one of them"
        )
    return cast(PostNormLayer, layers[layer - 1]).attention


def attention_relevance(attention: Attention, score: Callable[[], Tensor]) -> Tensor:
    """Attention x positive gradient of a score, averaged over heads: (B, T, T), rows are queries.

    One backward pass serves the whole batch, since no sample's score depends on another's attention. The gradient stops at the
    attention map, and no parameter receives any.

    Args:
        score: runs the network once, through this attention, and returns (B,) scores; for a loss, its negative.

    Raises:
        ValueError: the score was not computed through this attention.
    """
    seen: list[Tensor] = []

    # A leaf in place of the attention map: the gradient ends here, so no layer below is differentiated.

    def cut(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        seen.append(output.detach().requires_grad_())
        return seen[-1]

    handle = attention.probabilities.register_forward_hook(cut)
    try:
        with torch.enable_grad():
            total = score().float().sum()
    finally:
        handle.remove()
    if len(seen) != 1:
        raise ValueError(f"the score ran this attention {len(seen)} times; it must run it exactly once")
    (gradient,) = torch.autograd.grad(total, seen)
    # What lowers the score is left out, as in Grad-CAM; heads count alike.
    return (seen[0].detach() * gradient.clamp(min=0)).float().mean(1)


def split_relevance(relevance_BTT: Tensor, grid: int) -> Relevance:
    """Split the map over all tokens (class token, patches, words) into its two cross-modal parts."""
    first_word = 1 + grid * grid
    words = relevance_BTT[:, first_word:, 1:first_word]
    return Relevance(words.unflatten(2, (grid, grid)), relevance_BTT[:, 1:first_word, first_word:])
