"""Random numbers that depend on seed and step alone, not on device, rank or number of ranks."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from mamo.model.distributed import rank, world_size


def generator(seed: int, step: int, purpose: str) -> torch.Generator:
    """A CPU generator for one purpose at one step."""
    key = hashlib.sha256(f"{seed}/{step}/{purpose}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(key[:7], "big"))


def uniform(seed: int, step: int, purpose: str, batch: int, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) for this rank's ``batch`` rows: (batch, *shape), cut from those of the global batch."""
    numbers = torch.rand(batch * world_size(), *shape, generator=generator(seed, step, purpose))
    return numbers[rank() * batch : (rank() + 1) * batch]
