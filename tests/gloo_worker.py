"""One rank of a two-process run: the pre-training losses and gradients of its half of the batch, as DDP averages them."""

from __future__ import annotations

import sys
from pathlib import Path

import tiny
import torch
from torch.nn.parallel import DistributedDataParallel

from mamo.data.tokenizer import Tokenizer
from mamo.model.distributed import rank, world_size
from mamo.tasks.pretrain import PretrainTask
from mamo.training.distributed import process_group


def losses_and_gradients(words: Tokenizer) -> dict[str, torch.Tensor]:
    """Run one step on this rank's slice of the shared batch; returns the averaged parts and all gradients."""
    batch = tiny.batch(words)
    share = 8 // world_size()
    mine = slice(rank() * share, (rank() + 1) * share)
    batch = {k: v[mine] if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    task = PretrainTask(tiny.network(words, seed=1), tiny.pretrain_spec(), words).train()
    model = DistributedDataParallel(task, find_unused_parameters=True) if world_size() > 1 else task
    out = model(batch)
    out["loss"].backward()
    parts = {name: value.detach().clone() for name, value in out.items() if name != "spread"}
    if world_size() > 1:
        for value in parts.values():
            torch.distributed.all_reduce(value)
            value /= world_size()
    gradients = {n: p.grad for n, p in task.named_parameters() if p.grad is not None}
    return parts | gradients


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with process_group():
        result = losses_and_gradients(Tokenizer.load(folder / "words"))
        if rank() == 0:
            torch.save(result, folder / "result.pt")
