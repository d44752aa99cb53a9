"""Choose the proposal that a heat map points at.

Boxes are x0, y0, x1, y1 as shares of the image's width and height. Shapes: B maps, P proposals, g or S cells along a side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Compute intersection over union, elementwise with broadcasting: (..., 4), (..., 4) -> (...); 0 for boxes without area."""
    # Shares instead of pixels change nothing: both areas scale alike.
    low = torch.maximum(first[..., :2], second[..., :2])
    high = torch.minimum(first[..., 2:], second[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = box_area(first) + box_area(second) - shared
    return torch.where(union > 0, shared / union.clamp(min=1e-12), 0.0)


def box_area(boxes: Tensor) -> Tensor:
    """Compute areas: (..., 4) -> (...), 0 where a box is turned inside out."""
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1)


def heat_inside(heat_BSS: Tensor, boxes_BP4: Tensor) -> Tensor:
    """Sum the heat inside each box: (B, S, S), (B, P, 4) -> (B, P).

    Every cell spreads its heat evenly over its area, and a box takes the share of a cell that it covers.
    """
    size = heat_BSS.shape[-1]
    # A summed-area table is linear between its nodes, so four look-ups are exact and no box edge is rounded.
    table = F.pad(heat_BSS.cumsum(1).cumsum(2), (1, 0, 1, 0))
    x0, y0, x1, y1 = boxes_BP4.clamp(0, 1).unbind(-1)

    def upto(x_BP: Tensor, y_BP: Tensor) -> Tensor:
        column, row = x_BP * size, y_BP * size
        left, top = column.floor().clamp(max=size - 1).long(), row.floor().clamp(max=size - 1).long()
        across, down = column - left, row - top
        batch = torch.arange(len(table), device=table.device)[:, None]
        upper = torch.lerp(table[batch, top, left], table[batch, top, left + 1], across)
        lower = torch.lerp(table[batch, top + 1, left], table[batch, top + 1, left + 1], across)
        return torch.lerp(upper, lower, down)

    return upto(x1, y1) - upto(x0, y1) - upto(x1, y0) + upto(x0, y0)


def choose_box(
    heat_Bgg: Tensor, boxes_BP4: Tensor, present_BP: Tensor, size: int, area_exponent: float
) -> Tensor:
    """Choose the proposal of the highest (heat inside) / area ** exponent: (B,) indices, -1 where none is positive (ALBEF).

    Args:
        heat_Bgg: a value per patch; resampled bicubically to ``size`` x ``size`` first.
        present_BP: False at padding.
    """
    fine = F.interpolate(heat_Bgg.double()[:, None], size=(size, size), mode="bicubic", align_corners=False)[
        :, 0
    ]
    boxes = boxes_BP4.double()
    # Of what lies within the image; without the exponent a larger box would always hold more heat.
    area = box_area(boxes.clamp(0, 1))
    scores = heat_inside(fine, boxes) / area.clamp(min=1e-12) ** area_exponent
    scores = scores.masked_fill(~present_BP | (area <= 0), float("-inf"))
    best, index = scores.max(1)
    return torch.where(best > 0, index, -1)
