"""Say how long a table's models were pre-trained, in passes over their pairs: a scale's epochs may be short ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mamo.files.stored import read_object
from mamo.specs.optimisation import ScheduleSpec
from mamo.specs.plan import Plan, Run, TablePlan


def training_lengths(plan: Plan, table: TablePlan, results: Path) -> list[str]:
    """Write sentences for a table's notes, one for each length: steps, pairs of a step, and passes over the pairs.

    Rows are named where they differ. Passes are left out while the data are not prepared.
    """
    labels = {row.key: row.label for row in table.ablation.rows}
    rows: dict[str, list[str]] = {}
    for row, keys in table.pretrainings.items():
        if keys:
            rows.setdefault(_length(plan, plan.runs[keys[0]], results), []).append(labels.get(row, row))
    if len(rows) == 1:
        return [f"Pre-training: {next(iter(rows))}."]
    if not rows:
        return []
    return [f"Pre-training of {_listed(names)}: {length}." for length, names in rows.items()]


def _length(plan: Plan, run: Run, results: Path) -> str:
    pairs = _count_pairs(plan, run, results)
    schedule, batch = ScheduleSpec.model_validate(run.spec["schedule"]), run.spec["batch_size"]
    if pairs is None and schedule.steps_per_epoch is None:
        return "1 epoch" if schedule.epochs == 1 else f"{schedule.epochs} epochs"
    steps = schedule.total_steps(pairs or 0, batch)
    text = f"{steps:,} {'step' if steps == 1 else 'steps'} of {batch:,} pairs"
    return text + (f", {steps * batch / pairs:.2g} passes over {pairs:,} pairs" if pairs else "")


def _count_pairs(plan: Plan, run: Run, results: Path) -> int | None:
    """Count the training pairs of a pre-training's data sets; None where one is not prepared."""
    total = 0
    for role, key in run.inputs.items():
        if not role.startswith("data:"):
            continue
        path = plan.runs[key].record(results)
        if not path.is_file():
            return None
        total += read_object(path)["details"]["splits"]["train"]["records"]
    return total


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
