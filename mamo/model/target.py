"""The target network: an exponentially moving average of the online network (section 3.2.1)."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def make_target(online: M) -> M:
    """A copy of the online network that no gradient reaches, in evaluation mode (no dropout)."""
    target = copy.deepcopy(online).eval()
    for parameter in target.parameters():
        parameter.requires_grad_(False)
    return target


@torch.no_grad()
def update_target(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, for every parameter in one fused call; buffers are copied."""
    averages = [p.data for p in target.parameters()]
    current = [p.data for p in online.parameters()]
    torch._foreach_lerp_(averages, current, 1.0 - momentum)
    for average, value in zip(target.buffers(), online.buffers(), strict=True):
        average.copy_(value)
