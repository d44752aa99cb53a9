"""Say how long a table's models were pre-trained, here and in the paper: a scale's epochs may be short."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mamo.files.stored import read_object
from mamo.reporting.paper import PaperTable, find_paper
from mamo.specs.optimisation import ScheduleSpec
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, Run, TablePlan
from mamo.specs.scale import Scale, read_scale

PAPER = "paper"  # the scale with the paper's own settings
DATA = "table10"  # the paper's count of its pairs


def training_lengths(
    plan: Plan, table: TablePlan, results: Path, ablations: Path = Path("ablations")
) -> list[str]:
    """Write a sentence for each length, for a table's notes: steps, pairs of a step, passes over the pairs; then the paper's.

    Rows are named where they differ. Passes are left out while the data are not prepared.

    Args:
        results: the scale's results.
        ablations: the folder of the ablation files, with the scale ``paper`` and the paper's numbers.
    """
    labels = {row.key: row.label for row in table.ablation.rows}
    rows: dict[str, list[str]] = {}
    for row, keys in table.pretrainings.items():
        if keys:
            rows.setdefault(_length(plan, plan.runs[keys[0]], results), []).append(labels.get(row, row))
    if not rows:
        return []
    if len(rows) == 1:
        own = [f"Pre-training: {next(iter(rows))}."]
    else:
        own = [f"Pre-training of {_listed(names)}: {length}." for length, names in rows.items()]
    return [*own, *_reported(table, ablations)]


def _length(plan: Plan, run: Run, results: Path) -> str:
    pairs = _count_pairs(plan, run, results)
    schedule, batch = ScheduleSpec.model_validate(run.spec["schedule"]), run.spec["batch_size"]
    if pairs is None and schedule.steps_per_epoch is None:
        return _epochs(schedule.epochs)
    steps = schedule.total_steps(pairs or 0, batch)
    return _steps(steps, batch) + (
        f", {steps * batch / pairs:.2g} passes over {pairs:,} pairs" if pairs else ""
    )


def _count_pairs(plan: Plan, run: Run, results: Path) -> int | None:
    """Count the training pairs of a pre-training's data sets; None where one is not prepared, or its record does not say."""
    total = 0
    for role, key in run.inputs.items():
        if not role.startswith("data:"):
            continue
        path = plan.runs[key].record(results)
        if not path.is_file():
            return None
        splits = read_object(path).get("details", {}).get("splits")
        if not splits:
            return None
        total += splits["train"]["records"]
    return total


def _reported(table: TablePlan, ablations: Path) -> list[str]:
    """Write the paper's length of the same rows, counted from the pairs that it reports; empty where it has no such table."""
    scale, counted = _paper_scale(ablations), find_paper(DATA, ablations)
    reported = find_paper(table.ablation.paper, ablations)
    others = reported is not None and reported.heading != PaperTable.model_fields["heading"].default
    if table.ablation.paper is None or others or scale is None or counted is None:
        return []
    pairs = sum(int(value) for value in counted.row("texts").values.values() if value is not None)
    lengths = []
    for row in table.ablation.rows:
        overrides: dict[str, Any] = {**table.ablation.base, **row.set}
        epochs = overrides.get("schedule.epochs", scale.pretrain.schedule.epochs)
        lengths.append((epochs, overrides.get("batch_size", scale.pretrain.batch_size)))
    told = [
        f"{_epochs(epochs)} of {pairs:,} pairs, {_steps(epochs * -(-pairs // batch), batch)}"
        for epochs, batch in dict.fromkeys(lengths)
    ]
    return [f"In the paper: {'; '.join(told)}."]


def _paper_scale(ablations: Path) -> Scale | None:
    try:
        return read_scale(PAPER, ablations)
    except SpecError:  # scales of another project
        return None


def _epochs(count: int) -> str:
    return f"{count} epoch{'' if count == 1 else 's'}"


def _steps(count: int, batch: int) -> str:
    return f"{count:,} step{'' if count == 1 else 's'} of {batch:,} pairs"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
