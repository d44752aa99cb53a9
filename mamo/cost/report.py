"""Report a plan's cost in words."""

from __future__ import annotations

from collections.abc import Iterator

from mamo.cost.runs import AUGMENTED_PER_SECOND, GPUS, Cost, Costs, Hardware
from mamo.specs.identity import Kind
from mamo.specs.plan import Plan

TRAINED: tuple[Kind, ...] = ("pretrain", "finetune")


def cost_lines(plan: Plan, costs: Costs, hardware: Hardware) -> Iterator[str]:
    """List what the plan costs: operations, GPU-hours, disk, critical path, and the assumptions behind them."""
    runs = costs.runs
    yield "Operations (matrix products, counted from the models' shapes)"
    yield f"  {'':44} {'steps':>8} {'examples':>10} {'EFLOP':>9} {'GPU-hours':>10} {'hours':>7}"
    for kind in TRAINED:
        for run in plan.by_kind(kind):
            cost = runs[run.key]
            yield (
                f"  {run.name[:44]:44} {cost.steps:8,} {_format_count(cost.examples):>10} {cost.flops / 1e18:9.2f}"
                f" {hardware.gpu_hours(cost):10,.0f} {hardware.hours(cost):7.1f}"
            )
    trained = [run.key for kind in TRAINED for run in plan.by_kind(kind)]
    total = costs.total(trained)
    yield f"  {'all':44} {'':8} {'':10} {total.flops / 1e18:9.2f} {hardware.gpu_hours(total):10,.0f}"
    unshared = sum(
        costs.total(k for k in plan.closure(table.inputs) if plan.runs[k].kind in TRAINED).flops
        for table in plan.tables.values()
    )
    saved = max(0.0, unshared - total.flops) / hardware.rate / 3600
    yield f"  Without sharing runs between tables it would be {saved:,.0f} GPU-hours more.\n"
    yield f"GPU-hours of all, at {hardware.mfu:.0%} of the peak of dense bf16"
    for name, (peak, memory) in GPUS.items():
        hours = total.flops / (peak * hardware.mfu) / 3600
        yield f"  {name:8} {peak / 1e12:6,.0f} TFLOP/s {memory:4} GB {hours:10,.0f}"
    yield ""
    yield from _disk(plan, costs)
    yield ""
    hours, chain = costs.critical_path(hardware)
    means = f"{hardware.gpus} {hardware.gpu} for each run and {hardware.cores} cores for data"
    yield f"Critical path: {hours:,.1f} hours with {means}"
    for key in chain:
        yield f"  {hardware.hours(runs[key]):8.1f} h  {key}"
    yield ""
    yield from _basis(plan, costs, hardware, total)


def _disk(plan: Plan, costs: Costs) -> Iterator[str]:
    data = costs.total(run.key for run in plan.by_kind("data"))
    weights = costs.total(run.key for run in plan.by_kind("weights"))
    yield "Disk"
    yield f"  prepared data                     {_bytes(data.kept):>9}"
    yield f"    and the largest set's parts, while they are put together {_bytes(data.passing):>9}"
    yield f"  starting weights (and as much in the hub's cache, where they are fetched) {_bytes(weights.kept):>9}"
    for kind, words in (("pretrain", "pre-trained models"), ("finetune", "fine-tuned models")):
        total = costs.total(run.key for run in plan.by_kind(kind))
        yield f"  {words:33} {_bytes(total.kept):>9}"
        yield f"    and checkpoints of each unfinished run, at most {_bytes(total.passing):>9}"


def _basis(plan: Plan, costs: Costs, hardware: Hardware, total: Cost) -> Iterator[str]:
    unknown = costs.unprepared
    yield "Assumptions"
    if unknown:
        yield f"  Not prepared yet, so counted as published, at 80 kB an image: {' '.join(unknown)}."
    size = plan.scale.pretrain.transform.size
    words = plan.scale.pretrain.model.max_words
    yield f"  Texts are padded to {words} tokens. The share of the peak is an assumption: measure yours."
    yield "  Not counted: the visual tokeniser of one run, and what micro-batches or activation checkpointing compute twice."
    rate = AUGMENTED_PER_SECOND.get(size)
    pretrainings = [costs.runs[run.key] for run in plan.by_kind("pretrain")]
    if rate and pretrainings and total.training:
        first = pretrainings[0]
        pairs = hardware.rate / (first.training / first.examples)
        cores = f"{pairs / rate:,.1f} cores to decode and augment"
        yield f"  One {hardware.gpu} would take {pairs:,.0f} pairs a second, which need {cores}."


def _format_count(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


def _bytes(number: float) -> str:
    for size, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB")):
        if number >= size:
            return f"{number / size:.1f} {unit}"
    return f"{number / 1e3:.0f} kB"
