"""A map over the image for every word: Grad-CAM of ITM's score (section 4.3, appendix A).

Shapes: B pairs, V visual tokens, L sub-words, D width, g patches along a side.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mamo.model.mamo import Mamo
from mamo.tasks.relevance import attention_relevance, fusion_attention, split_relevance


def check_layer(network: Mamo, layer: int) -> None:
    """Check that a fusion layer has maps of words.

    Raises:
        ValueError: there is no such layer, or it is the last one, where words have no gradient.
    """
    fusion_attention(network, layer)  # raises where there is no such layer
    if layer not in layers_with_maps(network):
        raise ValueError(
            f"layer {layer} is the last fusion layer: ITM's score reads its [CLS] alone, so the words' attention "
            f"there has no gradient; set layer to one of 1 to {layer - 1}"
        )


def layers_with_maps(network: Mamo) -> range:
    """Return the fusion layers that have maps of words, counted from 1: all but the last."""
    return range(1, len(network.fusion.layers))


def match_maps(
    network: Mamo, layer: int, visual_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor, autocast: torch.autocast
) -> Tensor:
    """Compute a map for every token of the texts: (B, L, g, g), not negative.

    Args:
        layer: the fusion layer whose attention is read, counted from 1.
        autocast: the precision.
    """
    with autocast:
        # Only fusion is differentiated, and only down to the attention that is read.
        with torch.no_grad():
            text = network.encode_text(ids_BL, mask_BL)
        relevance = attention_relevance(
            fusion_attention(network, layer),
            lambda: network.matching_logits(visual_BVD, text, mask_BL)[:, 1],
        )
    return split_relevance(relevance, network.vision.grid).words_on_patches
