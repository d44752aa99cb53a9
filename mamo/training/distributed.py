"""Train in several processes: join the group that torchrun announces, and exchange what the loop needs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from mamo.model.distributed import is_distributed, rank, world_size
from mamo.training.checkpoints import State

BUCKET_BYTES = 64 << 20


@contextmanager
def process_group() -> Iterator[None]:
    """Join the group that torchrun announces (NCCL on GPUs, gloo elsewhere); do nothing without torchrun."""
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def wrap(task: nn.Module) -> nn.Module:
    """Wrap the task in DDP, which averages gradients over ranks; parts without a gradient (the target network) stay outside."""
    if not is_distributed():
        return task
    ignored = [name for name, p in task.named_parameters() if not p.requires_grad]
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(task, ignored)
    # No objective changes a buffer, so none is broadcast; the heads that a batch reaches depend on the objectives.
    return DistributedDataParallel(
        task, find_unused_parameters=True, broadcast_buffers=False, gradient_as_bucket_view=True
    )


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Average gradients over ranks, as DDP does, where a backward came in several pieces.

    A parameter that no rank's batch reached keeps no gradient, so that the optimiser leaves it alone.
    """
    if not is_distributed():
        return
    trained = [p for p in parameters if p.requires_grad]
    if not trained:
        return
    # Ranks must average the same tensors in the same order, or they would wait for each other for ever.
    reached = torch.tensor([p.grad is not None for p in trained], dtype=torch.int32, device=trained[0].device)
    dist.all_reduce(reached, dist.ReduceOp.MAX)
    bucket: list[Tensor] = []
    for parameter, seen in zip(trained, reached.tolist(), strict=True):
        if not seen:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        bucket.append(parameter.grad)
        # A few large messages instead of one per tensor; the bound limits the copy that they need.
        if sum(gradient.nbytes for gradient in bucket) > BUCKET_BYTES:
            _average(bucket)
            bucket = []
    _average(bucket)


def _average(gradients: list[Tensor]) -> None:
    if not gradients:
        return
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def random_states() -> list[State]:
    """Gather the random states of all ranks, in rank order; all ranks call it together."""
    own = {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }
    if not is_distributed():
        return [own]
    states: list[Any] = [None] * world_size()
    # Each rank draws its own dropout, so each has a state of its own to come back to.
    dist.all_gather_object(states, own)
    return states


def set_random_state(states: Sequence[State]) -> None:
    """Restore this rank's random state; a rank without a saved one keeps its own (the number of ranks has changed)."""
    if rank() < len(states):
        torch.set_rng_state(states[rank()]["cpu"])
        if states[rank()]["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(states[rank()]["cuda"])
