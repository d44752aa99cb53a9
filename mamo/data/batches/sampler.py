"""The order of training examples: a pure function of (seed, step), whatever the number of ranks and workers.

Epochs follow each other without a gap: a batch at the end of one is filled up from the next, so nothing is dropped.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Purposes of random streams: the same seed and step must give unrelated numbers for different purposes.
_ORDER, _EXAMPLE = 1, 2


def _stream(purpose: int, seed: int, number: int, position: int = 0) -> np.random.Generator:
    """Make a counter-based generator: the key holds purpose, seed and number, the counter the position."""
    if not 0 <= seed < 2**48:
        raise ValueError(f"seed {seed}: must be in [0, 2**48)")
    key = np.array([purpose << 48 | seed, number], dtype=np.uint64)
    return np.random.Generator(
        np.random.Philox(key=key, counter=np.array([0, 0, 0, position], dtype=np.uint64))
    )


def example_generator(seed: int, step: int, position: int) -> np.random.Generator:
    """Random generator of one example, by its position in the *global* batch of a step."""
    return _stream(_EXAMPLE, seed, step, position)


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, n: int, block: int = 1) -> np.ndarray:
    """Draw an epoch's order: an exact shuffle of ``range(n)``, int64 (n,), read-only.

    Args:
        seed: of the run.
        epoch: counted from 0.
        n: number of records.
        block: this many consecutive records stay together, in their order; the blocks are shuffled.
    """
    generator = _stream(_ORDER, seed, epoch)
    blocks = generator.permutation(-(-n // block))
    if block > 1:
        blocks = (blocks[:, None] * block + np.arange(block)).ravel()
        blocks = blocks[blocks < n]
    blocks.setflags(write=False)
    return blocks


def batch_indices(
    seed: int, step: int, batch_size: int, n: int, block: int = 1, rank: int = 0, world: int = 1
) -> np.ndarray:
    """Record indices of one step's batch, int64 (batch_size / world,).

    Args:
        seed: of the run.
        step: counted from 0.
        batch_size: records over all ranks.
        n: number of records.
        block: see ``order``.
        rank: this process; it takes its contiguous slice of the global batch.
        world: number of processes.

    Raises:
        ValueError: no records, or ``batch_size`` is not a multiple of ``world``.
    """
    if n <= 0:
        raise ValueError("no records to sample from")
    if batch_size % world:
        raise ValueError(f"batch_size {batch_size} is not a multiple of the {world} processes")
    share = batch_size // world
    start = step * batch_size + rank * share
    parts = []
    while share > 0:
        epoch, place = divmod(start, n)
        part = epoch_order(seed, epoch, n, block)[place : place + share]
        parts.append(part)
        start, share = start + len(part), share - len(part)
    return np.concatenate(parts)
