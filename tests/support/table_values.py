"""Values of tables, and records that they are collected from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mamo.reporting.collect import collect
from mamo.reporting.latex import escape_latex as escape_latex
from mamo.reporting.tables import Heading, Line, Table
from mamo.reporting.values import CellStatistics, SeedValue, TableValues
from mamo.specs.plan import Plan


def cell(value: float | None, outcome: str = "converged", chance: float | None = None) -> SeedValue:
    place = {
        "table": "t",
        "row": "a",
        "column": "x",
        "metric": "m",
        "seed": 0,
        "run": "finetune/a-0123456789",
    }
    return SeedValue.model_validate(place | {"value": value, "chance": chance, "outcome": outcome})


def statistics(row: str, column: str = "coco_tr", **numbers: Any) -> CellStatistics:
    mean = {"mean": 70.0, "mean_lower": 70.0, "mean_upper": 70.0, "seeds": 3, "images": 9, "against": None}
    return CellStatistics.model_validate({"row": row, "column": column} | mean | numbers)


def write_record(plan: Plan, key: str, results: Path, status: str = "converged", **metrics: float) -> None:
    path = plan.runs[key].record(results)
    path.parent.mkdir(parents=True)
    record = {
        "outcome": {"status": status, "reason": "NaN" if status == "diverged" else None},
        "metrics": metrics,
    }
    path.write_text(json.dumps(record))


def filled(plan: Plan, results: Path) -> dict[str, TableValues]:
    """Values of every table: 40 and the length of the row's key."""
    for table in plan.tables.values():
        for c in table.cells:
            for key in c.runs:
                path = plan.runs[key].record(results)
                path.parent.mkdir(parents=True, exist_ok=True)
                printed = json.loads(path.read_text())["metrics"] if path.is_file() else {}
                printed |= {c.metric: 40.0 + len(c.row), f"chance/{c.metric}": 0.5}
                path.write_text(json.dumps({"outcome": {"status": "converged"}, "metrics": printed}))
    return {name: collect(plan, table, results) for name, table in plan.tables.items()}


RETRIEVAL = Table(
    tuple(Heading(f"c{k}", f"TR R@{k}", "MSCOCO") for k in (1, 5, 10)),
    (
        Line("a", "A", ("57.8 ± 4.3", "80.0 ± 1.0", "×")),
        Line("b", "B", ("9.9 ± 1.0", "80.0 ± 2.0", "90.0")),
    ),
    Line("chance", "Chance", ("99.0", "99.0", "99.0")),
    (Line("b", "B", ("71.9", "90.0", "95.0")),),
)
