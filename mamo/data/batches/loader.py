"""Training batches as a function of (seed, step), and images for evaluation in a given order."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch.utils.data import DataLoader

from mamo.data.batches.collate import Batch, SeededItem
from mamo.data.batches.passing import Piped, Shared, prepare_passing
from mamo.data.batches.sampler import batch_indices, example_generator
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import ImageStore, PreparedError

SECONDS_TO_HEAR = 1.0  # how a worker process ended
# A batch that does not arrive within ten times so many seconds never will. The wait is split into turns: a process that a
# scheduler suspends for hours then uses up one turn, not all of them.
SECONDS_A_TURN, TURNS = 30.0, 10
_Request = tuple[int, int, int]  # step, position in the global batch, record


class _Samples(torch.utils.data.Dataset):
    """Dataset of a worker process: records by request, each with its own random numbers."""

    def __init__(self, source: ConcatRecords, seed: int) -> None:
        self._source, self._seed = source, seed

    def __getitem__(self, request: _Request) -> SeededItem:
        step, position, record = request
        return self._source[record], example_generator(self._seed, step, position)


class TrainLoader:
    """Iterate over the batches of steps ``start`` to ``end`` (exclusive).

    A batch depends on (source, collate, seed, step) alone: the number of workers changes nothing, and the ranks' slices put
    together are the batch of a single process.

    Args:
        source: the records.
        collate: makes a batch of samples (see ``mamo.data.batches.collate``).
        batch_size: records over all ranks.
        seed: of order and augmentation.
        end: steps of the whole run.
        start: first step; a resumed run starts where it stopped.
        block: this many consecutive records stay together (see ``sampler.order``).
        rank: this process.
        world: number of processes.
        workers: worker processes; 0 makes batches in this process.
        pin_memory: page-locked batches, for copies to a GPU.

    Raises:
        PreparedError: a data set has no record of the split.
    """

    def __init__(
        self,
        source: ConcatRecords,
        collate: Callable[[Sequence[SeededItem]], Batch],
        *,
        batch_size: int,
        seed: int,
        end: int,
        start: int = 0,
        block: int = 1,
        rank: int = 0,
        world: int = 1,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if source.empty:
            raise PreparedError(
                f"no records in {', '.join(source.empty)}: there is nothing to train on; look for what was left out in its "
                "manifest.json, or leave the data set out"
            )
        if batch_size % world or not 0 <= rank < world:
            raise ValueError(
                f"batch_size {batch_size} is not a multiple of {world} processes, or rank {rank} is not one of them"
            )
        self.source, self.collate, self.seed, self.start, self.end = source, collate, seed, start, end
        self.batch_size, self.block, self.rank, self.world = batch_size, block, rank, world
        self.workers, self.pin_memory = workers, pin_memory

    def __len__(self) -> int:
        return max(0, self.end - self.start)

    def _requests(self, step: int) -> list[_Request]:
        indices = batch_indices(
            self.seed, step, self.batch_size, len(self.source), self.block, self.rank, self.world
        ).tolist()
        first = self.rank * (self.batch_size // self.world)
        return [(step, first + offset, record) for offset, record in enumerate(indices)]

    def __iter__(self) -> Iterator[Batch]:
        collate = Shared(self.collate, prepare_passing()) if self.workers else self.collate
        loader = DataLoader(
            _Samples(self.source, self.seed),
            batch_sampler=_Steps(self),
            collate_fn=collate,
            num_workers=self.workers,
            pin_memory=self.pin_memory,
            prefetch_factor=4 if self.workers else None,
            timeout=SECONDS_A_TURN if self.workers else 0,
            # A generator of its own, so that the global generator's state does not depend on when a run was resumed.
            generator=torch.Generator().manual_seed(self.seed),
        )
        try:
            batches = iter(loader)
            while (batch := self._next(batches)) is not None:
                yield batch.batch() if isinstance(batch, Piped) else batch
        except (EOFError, ConnectionError) as error:
            if not self.workers or "DataLoader worker" in str(error):
                raise  # of the data itself, here or in a worker
            # A worker died while its batch was fetched. PyTorch raises its own error as soon as it learns how the
            # worker ended, which may come after the end of the connection; it says more.
            time.sleep(SECONDS_TO_HEAR)
            raise RuntimeError("DataLoader worker ended while its batch was fetched") from error

    @staticmethod
    def _next(batches: Iterator[Any]) -> Any:
        """Take the next batch; None at the end."""
        for turn in range(1, TURNS + 1):
            try:
                return next(batches, None)
            except RuntimeError as error:
                if "DataLoader timed out" not in str(error) or turn == TURNS:
                    raise


class _Steps(torch.utils.data.Sampler[list[_Request]]):
    """The requests of each step, made in the main process, which alone holds the epoch's order."""

    def __init__(self, loader: TrainLoader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[list[_Request]]:
        for step in range(self._loader.start, self._loader.end):
            yield self._loader._requests(step)


def image_batches(
    images: ImageStore, rows: Sequence[int], transform: EvalTransform, batch_size: int, threads: int = 1
) -> Iterator[torch.Tensor]:
    """Yield images for evaluation, in the order of ``rows``: float32 (B, 3, S, S), the last batch may be smaller.

    Args:
        images: of a prepared data set.
        rows: rows of the image table.
        transform: decodes and resizes.
        batch_size: B.
        threads: threads that decode ahead of the consumer (Pillow works outside the interpreter lock); 1 decodes in
            place.
    """

    def load(row: int) -> torch.Tensor:
        return transform(images.jpeg(int(row)))

    batches: list[Sequence[int]] = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    if threads <= 1:
        for batch in batches:
            yield torch.stack([load(row) for row in batch])
        return
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[list[Future[Any]]] = deque()
        for batch in batches:
            ahead.append([pool.submit(load, row) for row in batch])
            if len(ahead) > 2:
                yield torch.stack([future.result() for future in ahead.popleft()])
        while ahead:
            yield torch.stack([future.result() for future in ahead.popleft()])
