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
    # 5,146,000 pairs in the paper's Table 10, 1,536 to a step: 3,351 steps to each of its 30 epochs.
    paper = "In the paper: 30 epochs of 5,146,000 pairs, 100,530 steps of 1,536 pairs."
    assert training_lengths(plan, table, tmp_path, ABLATIONS) == [
        f"Pre-training: {steps:,} steps of 64 pairs.",
        paper,
    ]
    run = plan.runs[table.pretrainings["mamo"][0]]
    data = [key for role, key in run.inputs.items() if role.startswith("data:")]
    for key in data:
        path = plan.runs[key].record(tmp_path)
        path.parent.mkdir(parents=True)
        path.write_text(
            json.dumps({"details": {"splits": {"train": {"records": 8000}, "val": {"records": 5}}}})
        )
    passes = steps * 64 / (8000 * len(data))
    assert training_lengths(plan, table, tmp_path, ABLATIONS) == [
        f"Pre-training: 1,500 steps of 64 pairs, {passes:.2g} passes over {8000 * len(data):,} pairs.",
        paper,
    ]
    assert training_lengths(plan, plan.tables["table10"], tmp_path, ABLATIONS) == []


def test_rows_of_other_lengths_are_named(tmp_path: Path) -> None:
    plan = make_plan("paper", ABLATIONS, only=["table5"])
    table = plan.tables["table5"]
    paper = "In the paper: 10 epochs of 5,146,000 pairs, 33,510 steps of 1,536 pairs."
    assert training_lengths(plan, table, tmp_path, ABLATIONS) == ["Pre-training: 10 epochs.", paper]
    first, *rest = table.pretrainings
    run = plan.runs[table.pretrainings[first][0]]
    run.spec["schedule"]["epochs"] = 1
    labels = {row.key: row.label for row in table.ablation.rows}
    one, other, _ = training_lengths(plan, table, tmp_path, ABLATIONS)
    assert one == f"Pre-training of {labels[first]}: 1 epoch." and other.endswith(
        f"{labels[rest[-1]]}: 10 epochs."
    )


def test_tables_of_other_work_and_of_another_project_have_no_length_of_the_papers(tmp_path: Path) -> None:
    plan = make_plan("study", ABLATIONS, only=["localisation", "table5"])
    assert len(training_lengths(plan, plan.tables["localisation"], tmp_path, ABLATIONS)) == 1
    assert training_lengths(plan, plan.tables["table5"], tmp_path, tmp_path) == [
        "Pre-training: 750 steps of 64 pairs."
    ]
