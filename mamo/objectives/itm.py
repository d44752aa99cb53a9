"""Image-text matching with in-batch hard negatives (Eq. 5).

Shapes: B pairs of this rank, E width of ITC's projections.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Negatives(NamedTuple):
    """The image and the text that make each pair a wrong one."""

    image: Tensor
    """(B,) index of a wrong image for each text."""
    text: Tensor
    """(B,) index of a wrong text for each image."""


@torch.no_grad()
def hard_negatives(
    image_BE: Tensor,
    text_BE: Tensor,
    temperature: Tensor,
    image_ids_B: Tensor,
    draws_2B: Tensor,
    group: int,
    random: float = 0.0,
) -> Negatives:
    """Draw a negative for each image and each text in proportion to softmax(similarity) (section 3.2.2).

    Negatives come from the same group of ``group`` consecutive pairs of the global batch: at the paper's scale the pairs of
    one GPU. The group is part of the spec, so the number of GPUs does not change the result.

    Args:
        image_ids_B: identity of each pair's image; a pair of the same image is never a negative.
        draws_2B: uniform numbers in [0, 1), one for each image and one for each text.
        random: share of the negatives that are drawn uniformly instead.

    Raises:
        ValueError: the batch cannot be cut into groups, or a group holds a single image.
    """
    batch = len(image_BE)
    if batch % group:
        raise ValueError(
            f"{batch} pairs on this rank cannot be cut into ITM groups of {group}: change itm_group"
        )
    # Another text of the same image is a right one, so identities are compared and not places.
    groups = torch.arange(batch, device=image_BE.device) // group
    allowed = (groups[:, None] == groups) & (image_ids_B[:, None] != image_ids_B)
    if not allowed.any(1).all():
        raise ValueError(
            "a group of pairs holds one image only, so it offers no negative: raise batch_size or itm_group"
        )
    # Outside autocast: a small tau magnifies what bf16 rounds.
    with torch.autocast(image_BE.device.type, enabled=False):
        scores = image_BE @ text_BE.T / temperature

    def draw(scores_BB: Tensor, uniform_B: Tensor) -> Tensor:
        shares = scores_BB.masked_fill(~allowed, float("-inf")).softmax(1)
        # In small models ITC learns faster than fusion; with hard negatives only, ITM then never leaves chance level.
        shares = (1 - random) * shares + random * allowed / allowed.sum(1, keepdim=True)
        # Inverse transform sampling: torch.multinomial would draw other numbers on another device.
        cumulative = shares.cumsum(1)
        reached = (uniform_B * cumulative[:, -1])[:, None]
        picked = torch.searchsorted(cumulative, reached, right=True)[:, 0].clamp(max=batch - 1)
        # Rounding can put a draw on a step of no height: fall back to the likeliest allowed one.
        best = shares.argmax(1)
        return torch.where(allowed.gather(1, picked[:, None])[:, 0], picked, best)

    return Negatives(image=draw(scores.T, draws_2B[1]), text=draw(scores, draws_2B[0]))


def itm_loss(matched_B2: Tensor, wrong_text_B2: Tensor, wrong_image_B2: Tensor, share: float = 1.0) -> Tensor:
    """Compute the cross-entropy of "matched" over one positive and two negatives per pair (Eq. 5).

    Args:
        matched_B2: logits of "not matched" and "matched".
        share: of the batch that these pairs are. Every pair is judged three times, so the means of micro-batches add up by
            their shares.
    """
    logits = torch.cat([matched_B2, wrong_text_B2, wrong_image_B2]).float()
    # 1 is "matched": the right pairs come first.
    labels = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    labels[: len(matched_B2)] = 1
    return F.cross_entropy(logits, labels) * share
