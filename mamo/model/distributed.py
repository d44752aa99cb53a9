"""What the losses need to know of other ranks; without a process group, a world of one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.nn.functional import all_gather


def is_distributed() -> bool:
    """Whether a process group of more than one rank is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's rank, 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """How many ranks train together."""
    return dist.get_world_size() if is_distributed() else 1


def gather(x: Tensor) -> Tensor:
    """Concatenate every rank's rows in rank order: (B, ...) -> (world * B, ...); the backward is the true one."""
    return torch.cat(all_gather(x.contiguous())) if is_distributed() else x


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """``total`` over the mean count per rank, so that the average over ranks is the mean over all ranks' items.

    A plain mean per rank would weigh the items of a rank with few of them more. With no item at all the result is 0, still
    attached to the graph.
    """
    count = count.detach().float()
    if is_distributed():
        count = count.clone()
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return total / count.clamp(min=1e-8)
