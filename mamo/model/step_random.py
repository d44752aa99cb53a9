"""Random numbers that depend on seed and step alone, not on device, rank or number of ranks."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from mamo.model.distributed import rank, world_size


def generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for one purpose at one step."""
    # Hashed, so that neighbouring seeds, steps and purposes share nothing.
    key = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))


def uniform(seed: int, step: int, purpose: str, batch: int, *shape: int) -> Tensor:
    """Draw uniform numbers in [0, 1) for this rank's ``batch`` rows: (batch, *shape), cut from those of the global batch."""
    # Every rank draws for the whole global batch: a pair then gets the same numbers on one GPU and on sixteen.
    numbers = torch.rand(batch * world_size(), *shape, generator=generator(seed, step, purpose))
    return numbers[rank() * batch : (rank() + 1) * batch]
