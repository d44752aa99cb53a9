"""Communication between ranks for the losses; without a process group, a world of one.

Shapes: B rows of this rank.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.nn.functional import all_gather


def is_distributed() -> bool:
    """Tell whether a process group of more than one rank is up."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return this process's rank, 0 without a process group."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return how many ranks train together."""
    return dist.get_world_size() if is_distributed() else 1


def gather(x: Tensor) -> Tensor:
    """Concatenate every rank's rows in rank order: (B, ...) -> (world * B, ...)."""
    # The functional all_gather, not dist.all_gather: gradients go back to the ranks that own the rows.
    return torch.cat(all_gather(x.contiguous())) if is_distributed() else x


def global_mean(total: Tensor, count: Tensor) -> Tensor:
    """Divide a rank's ``total`` by the mean count per rank.

    Averaged over ranks, as DDP averages gradients, the result is the mean over all ranks' items. With no item at all it is 0,
    still attached to the graph.
    """
    # A plain mean per rank would give the items of a rank that has few of them more weight.
    count = count.detach().float()
    if is_distributed():
        count = count.clone()
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return total / count.clamp(min=1e-8)
