"""Batches, curve and result of the runs that train."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mamo.data.batches.collate import Batch
from mamo.data.batches.loader import TrainLoader
from mamo.data.store.concat import ConcatRecords
from mamo.files.writing import write_text
from mamo.model.distributed import rank, world_size
from mamo.runs.run import Result
from mamo.training.loop import Trained


def training_batches(
    source: ConcatRecords, collate: Any, batch_size: int, seed: int, block: int, start: int, total: int
) -> Iterator[Batch]:
    """Yield the rank's batches from step ``start``, each with the seed and step that fix the task's draws, and its progress."""
    loader = TrainLoader(
        source,
        collate,
        batch_size=batch_size,
        seed=seed,
        start=start,
        end=total,
        block=block,
        rank=rank(),
        world=world_size(),
        workers=data_workers(),
        pin_memory=torch.cuda.is_available(),
    )
    for step, batch in enumerate(loader, start):
        yield batch | {"seed": seed, "step": step, "progress": step / total}


def data_workers() -> int:
    """Choose the worker processes per rank: a GPU needs parallel decoding; a CPU run has no core to spare."""
    return (
        min(16, len(os.sched_getaffinity(0)) // max(1, torch.cuda.device_count()))
        if torch.cuda.is_available()
        else 0
    )


def save_curve(trained: Trained, directory: Path) -> None:
    """Save the loss parts over the steps as ``curve.csv``."""
    if trained.curve:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(trained.curve[0]))
        writer.writeheader()
        writer.writerows(trained.curve)
        write_text(directory / "curve.csv", text.getvalue())


def training_result(trained: Trained, batch_size: int) -> Result:
    """Compute the mean of each loss part over the last tenth, and the throughput."""
    metrics = {f"train/{name}": value for name, value in last_means(trained.curve).items()}
    details: dict[str, Any] = {"steps": trained.steps, "training_seconds": round(trained.seconds, 2)}
    if trained.steps_per_second:
        details["pairs_per_second"] = round(trained.steps_per_second * batch_size, 1)
    return Result(trained.outcome, metrics, details, trained.checks)


def last_means(curve: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Compute the mean of each loss part over the last tenth of a curve; nothing for an empty one."""
    last = curve[-max(1, len(curve) // 10) :]
    names = [name for name in (last[0] if last else {}) if name != "step"]
    return {name: sum(row[name] for row in last) / len(last) for name in names}
