"""Ratios that tell a collapse or a divergence apart from a change of scale, recorded at every step.

Shapes: M vectors of all items (images or texts), D width.
"""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def std_within_items(features_MD: Tensor, item_M: Tensor, items: int) -> Tensor:
    """Compute the deviation of vectors from their item's mean, over their root mean square: a scalar.

    Close to 0 when all positions of an item say the same (the trivial solution of section 3.2.1), near 1 when they have nothing
    in common, NaN when no item has two positions.

    Args:
        item_M: the item (image or text) of each vector, from 0 to ``items`` - 1.
    """
    features = features_MD.float()  # sums of squares overflow or vanish in bf16
    count = features.new_zeros(items).index_add_(0, item_M, torch.ones_like(features[:, 0]))
    mean = (
        features.new_zeros(items, features.shape[1]).index_add_(0, item_M, features)
        / count.clamp(min=1)[:, None]
    )
    # An item with one position has no deviation, which says nothing about a collapse.
    several = (count > 1)[item_M]
    # Over the root mean square, so that a projector that shrinks everything does not look like a collapse.
    left = (features - mean[item_M])[several].square().sum()
    return (left / features[several].square().sum()).sqrt()


@torch.no_grad()
def relative_error(error: Tensor, target_MD: Tensor, power: int) -> Tensor:
    """Divide a loss by that of the batch's own best constant, whatever the targets' scale; 1 means that nothing is learned.

    Args:
        power: 2 for a squared error, whose best constant is the mean; 1 for an absolute one, whose best is the median.
    """
    # The best constant changes with the targets: a teacher that drifts or grows does not look like a divergence.
    target = target_MD.float()
    if power == 2:
        return error.detach() / target.var(0, correction=0).mean()
    return error.detach() / (target - target.median(0).values).abs().mean()
