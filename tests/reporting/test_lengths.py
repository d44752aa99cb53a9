"""Lengths of pre-training, as a table's notes give them."""

from __future__ import annotations

import json
from pathlib import Path

from mamo.reporting.lengths import training_lengths
from mamo.specs.plan import make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def test_short_epochs_are_counted_in_passes_over_the_pairs(tmp_path: Path) -> None:
    plan = make_plan("demo", ABLATIONS, only=["table1", "table10"])
    table = plan.tables["table1"]
    steps = 75 * 20
    assert training_lengths(plan, table, tmp_path) == [f"Pre-training: {steps:,} steps of 64 pairs."]
    run = plan.runs[table.pretrainings["mamo"][0]]
    data = [key for role, key in run.inputs.items() if role.startswith("data:")]
    for key in data:
        path = plan.runs[key].record(tmp_path)
        path.parent.mkdir(parents=True)
        path.write_text(
            json.dumps({"details": {"splits": {"train": {"records": 8000}, "val": {"records": 5}}}})
        )
    passes = steps * 64 / (8000 * len(data))
    assert training_lengths(plan, table, tmp_path) == [
        f"Pre-training: 1,500 steps of 64 pairs, {passes:.2g} passes over {8000 * len(data):,} pairs."
    ]
    assert training_lengths(plan, plan.tables["table10"], tmp_path) == []


def test_rows_of_other_lengths_are_named(tmp_path: Path) -> None:
    plan = make_plan("paper", ABLATIONS, only=["table5"])
    table = plan.tables["table5"]
    assert training_lengths(plan, table, tmp_path) == ["Pre-training: 10 epochs."]
    first, *rest = table.pretrainings
    run = plan.runs[table.pretrainings[first][0]]
    run.spec["schedule"]["epochs"] = 1
    labels = {row.key: row.label for row in table.ablation.rows}
    one, other = training_lengths(plan, table, tmp_path)
    assert one == f"Pre-training of {labels[first]}: 1 epoch." and other.endswith(
        f"{labels[rest[-1]]}: 10 epochs."
    )
