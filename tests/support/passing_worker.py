"""Trains on nothing: fetches batches with worker processes, and prints what came; started by test_data_passing.py."""

from __future__ import annotations

import resource
import sys

import torch

from mamo.data.batches import loader as loading
from mamo.data.batches import passing


class Photos:
    """A source of records, each with its own number in it."""

    datasets = ()
    empty: tuple[str, ...] = ()

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> int:
        return index


class Collate:
    """A batch of a number of bytes, in which every element is known."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __call__(self, samples: object) -> dict[str, object]:
        numbers = torch.tensor([number for number, _ in samples])  # type: ignore[attr-defined]
        return {
            "ids": numbers,
            "image": numbers.repeat(self._size // 16, 1),
            "text": [str(n) for n in numbers.tolist()],
        }


def main(size: int) -> None:
    """Fetch four batches."""
    loading.SECONDS_A_TURN, loading.TURNS = 10.0, 2
    piped = passing.Piped.batch
    through = []
    passing.Piped.batch = lambda self: (through.append(1), piped(self))[1]  # type: ignore[method-assign]
    loader = loading.TrainLoader(Photos(), Collate(size), batch_size=2, seed=0, end=4, workers=2)  # type: ignore[arg-type]
    for batch in loader:
        assert [str(n) for n in batch["ids"].tolist()] == batch["text"]
        assert batch["image"].shape == (size // 16, 2) and bool((batch["image"] == batch["ids"]).all())
    print(f"{len(through)} of 4 through pipes, {resource.getrlimit(resource.RLIMIT_NOFILE)[0]} files")


if __name__ == "__main__":
    main(int(sys.argv[1]))
