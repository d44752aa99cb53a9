"""Measure how cost grows: CPU seconds of a pair by batch, image and depth of fusion, and of the data's order by pairs.

python -m benchmarks growth
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.batches import batch_of, captions, vocabulary
from benchmarks.measure import Result, alternating, operations
from benchmarks.training_step import RUN, product_step
from mamo.data.batches.sampler import epoch_order
from mamo.model.mamo import Mamo
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import read_scale
from mamo.tasks.pretrain import PretrainTask

ROOT = Path(__file__).parents[1]
FIGURE = ROOT / "docs" / "images" / "growth.svg"
ROUNDS = 3
BATCHES = (8, 16, 32, 64, 128)
SIZES = (32, 64, 96, 128, 192, 256)
DEPTHS = (1, 2, 3, 4, 6, 8)
PAIRS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
WORKERS = (0, 1, 2)


def main() -> None:
    """Measure, write, draw."""
    torch.set_num_threads(1)
    result = Result(
        "growth",
        "A pair against batch, image size and depth of fusion, and an epoch's order against pairs",
    )
    spec = read_scale("demo", ROOT / "ablations").pretrain
    _curve(result, "Batch", "pairs of a batch", {n: _changed(spec, batch=n) for n in BATCHES})
    _curve(result, "Image size", "pixels of a side", {n: _changed(spec, size=n, batch=16) for n in SIZES})
    _curve(result, "Depth of fusion", "fusion layers", {n: _changed(spec, depth=n, batch=32) for n in DEPTHS})
    _pairs(result)
    _workers(result)
    result.note(f"Medians of {ROUNDS} rounds in bf16 on one thread, all sizes taking turns.")
    draw(result.tables, FIGURE)
    result.write()


def _changed(spec: PretrainSpec, batch: int, size: int = 64, depth: int = 3) -> PretrainSpec:
    model = spec.model.model_copy(update={"image_size": size, "fusion_layers": depth})
    objectives = spec.objectives.model_copy(update={"itm_group": batch})
    return spec.model_copy(update={"model": model, "batch_size": batch, "objectives": objectives})


def _curve(result: Result, table: str, what: str, specs: dict[int, PretrainSpec]) -> None:
    tokenizer = vocabulary(captions(500), 600)
    sides: dict[int, Callable[[], Any]] = {}
    for number, spec in specs.items():
        task = PretrainTask(Mamo(spec.model, tokenizer.vocab_size), spec, tokenizer, steps=RUN)
        batch = batch_of(spec.model, tokenizer, spec.batch_size)
        sides[number] = product_step(task, batch, "bf16")
    seconds = alternating(sides, ROUNDS)  # type: ignore[arg-type, type-var]
    for number, spec in specs.items():
        pair = statistics.median(seconds[number]) / spec.batch_size  # type: ignore[index]
        flops = operations(sides[number]) / spec.batch_size
        counted = {
            "ms a pair": 1000 * pair,
            "MFLOP a pair": flops / 1e6,
            "GFLOP a CPU-second": flops / pair / 1e9,
        }
        result.row(table, **{what: number}, **counted)


def _pairs(result: Result) -> None:
    for pairs in PAIRS:
        epoch_order.cache_clear()
        began = time.process_time()
        epoch_order(0, 0, pairs)
        seconds = time.process_time() - began
        result.row(
            "Pairs",
            pairs=pairs,
            **{"s to shuffle an epoch": seconds, "ns a pair": 1e9 * seconds / pairs, "MB": 8 * pairs / 1e6},
        )
    epoch_order.cache_clear()


def _workers(result: Result) -> None:
    """Measure wall-clock time, since workers are processes of their own: a busy machine shows here."""
    import tempfile

    from benchmarks.data import prepare
    from mamo.data.batches.collate import CaptionCollate
    from mamo.data.batches.loader import TrainLoader
    from mamo.data.batches.transforms import TrainTransform
    from mamo.data.store.concat import ConcatRecords
    from mamo.data.store.records import Prepared

    spec = read_scale("paper", ROOT / "ablations").pretrain
    tokenizer = vocabulary(captions(500))
    with tempfile.TemporaryDirectory() as folder:
        data = Prepared(prepare(Path(folder) / "set", 4096, (640, 480), 384))
        collate = CaptionCollate(TrainTransform(spec.transform), tokenizer, spec.model.max_words)
        for workers in WORKERS:
            loader = TrainLoader(
                ConcatRecords([data]), collate, batch_size=32, seed=0, end=16, workers=workers
            )
            batches = iter(loader)
            for _ in range(4):
                next(batches)
            began, count = time.perf_counter(), 0
            for batch in batches:
                count += len(batch["ids"])
            rate = count / (time.perf_counter() - began)
            result.row("Workers", workers=workers, **{"pairs a second, by the clock": rate})


def draw(tables: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """The curves as one figure, each with the line along which it would grow if it were linear from its first point."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot

    panels = (
        ("Batch", "pairs of a batch", "ms a pair", False),
        ("Image size", "pixels of a side", "ms a pair", False),
        ("Depth of fusion", "fusion layers", "ms a pair", False),
        ("Pairs", "pairs", "s to shuffle an epoch", True),
    )
    figure, axes = pyplot.subplots(1, len(panels), figsize=(13, 3), layout="constrained")
    for axis, (table, x, y, logarithmic) in zip(axes, panels, strict=True):
        rows = tables[table]
        xs, ys = [row[x] for row in rows], [row[y] for row in rows]
        axis.plot(xs, ys, marker="o", label="measured")
        if "MFLOP a pair" in rows[0]:
            rate = max(row["GFLOP a CPU-second"] for row in rows)
            axis.plot(xs, [row["MFLOP a pair"] / rate for row in rows], "--", label="at the best rate")
        else:
            axis.plot(xs, [ys[-1] / xs[-1] * value for value in xs], "--", label="linear")
        if logarithmic:
            axis.set(xscale="log", yscale="log")
        else:
            axis.set_ylim(bottom=0)
        axis.set(title=table, xlabel=x, ylabel=y)
        axis.legend(frameon=False)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
