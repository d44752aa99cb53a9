"""The target network: an exponentially moving average of the online network (section 3.2.1)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def make_target(online: M) -> M:
    """Copy the online network; no gradient reaches the copy, and it is in evaluation mode (no dropout)."""
    target = copy.deepcopy(online).eval()
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    return target


@torch.no_grad()
def update_target(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Move the target: momentum * target + (1 - momentum) * online for every parameter; buffers are copied (section 3.2.1)."""
    # One fused call: a paper-sized network has some 400 parameters, and a kernel for each would cost more than the sums.
    averages = [p.data for p in target.parameters()]
    current = [p.data for p in online.parameters()]
    torch._foreach_lerp_(averages, current, 1.0 - momentum)
    for average, value in zip(target.buffers(), online.buffers(), strict=True):
        average.copy_(value)
