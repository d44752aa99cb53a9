"""Image-text contrastive learning (Eq. 4).

Shapes: B pairs of this rank, E width of ITC's projections.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mamo.model.distributed import gather, rank


def itc_loss(image_BE: Tensor, text_BE: Tensor, temperature: Tensor) -> Tensor:
    """Compute InfoNCE in both directions over the pairs of all ranks (Eq. 4).

    Args:
        image_BE: unit-length image projections of this rank's pairs.
        text_BE: unit-length text projections of this rank's pairs.
        temperature: the learned scalar tau.

    Returns:
        The mean over this rank's pairs; averaged over ranks it is the loss of the global batch, and so is its gradient,
        because the gathered features pass theirs back to the ranks that own them.
    """
    # Outside autocast: in bf16, similarities over a small tau would be off by 0.06.
    with torch.autocast(image_BE.device.type, enabled=False):
        to_text = image_BE @ gather(text_BE).T / temperature
        to_image = text_BE @ gather(image_BE).T / temperature
    # Gathered rows lie in rank order, so a rank's own pairs start behind those of the ranks before it.
    own = torch.arange(len(image_BE), device=image_BE.device) + rank() * len(image_BE)
    return 0.5 * (F.cross_entropy(to_text, own) + F.cross_entropy(to_image, own))
