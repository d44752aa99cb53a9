"""What tells a collapse or a divergence apart from a change of scale: ratios, watched at every step."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def spread_within(features_MD: Tensor, item_M: Tensor, items: int) -> Tensor:
    """Deviation of vectors from their item's mean, over their root mean square: a scalar.

    0 where all positions of an item say the same (the trivial solution of section 3.2.1), near 1 where they have nothing in
    common; NaN where no item has two positions.

    Args:
        item_M: the item (image or text) of each vector, from 0 to ``items`` - 1.
    """
    features = features_MD.float()
    count = features.new_zeros(items).index_add_(0, item_M, torch.ones_like(features[:, 0]))
    mean = (
        features.new_zeros(items, features.shape[1]).index_add_(0, item_M, features)
        / count.clamp(min=1)[:, None]
    )
    several = (count > 1)[item_M]
    left = (features - mean[item_M])[several].square().sum()
    return (left / features[several].square().sum()).sqrt()


@torch.no_grad()
def relative_error(error: Tensor, target_MD: Tensor, power: int) -> Tensor:
    """A loss over that of the batch's own best constant: its mean (squared error, power 2) or its median (absolute, power 1).

    1 where nothing is learned, whatever the targets' scale.
    """
    target = target_MD.float()
    if power == 2:
        return error.detach() / target.var(0, correction=0).mean()
    return error.detach() / (target - target.median(0).values).abs().mean()
