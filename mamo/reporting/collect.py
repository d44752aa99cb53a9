"""From runs' records to the values of one table or figure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mamo.data.vqa_server import METRICS, read_scores
from mamo.reporting.tables import sensible
from mamo.specs.plan import Cell, Plan, TablePlan
from mamo.specs.record import Record
from mamo.specs.stored import read_object, read_record_file
from mamo.training.run import beside, write_text

# The columns of results.csv, one line per value.
TIDY = ("table", "row", "column", "metric", "seed", "value", "chance", "run", "outcome")
# The columns of statistics.csv, one line per cell; in percent and percentage points.
STATISTICS = (
    *("table", "row", "column", "seeds", "images", "mean", "mean_lower", "mean_upper", "mean_noise"),
    *("against", "difference", "difference_lower", "difference_upper", "difference_p", "difference_noise"),
)


def collect(
    plan: Plan, table: TablePlan, results: Path, ablations: Path = Path("ablations")
) -> dict[str, Any]:
    """The values of a table from the records that exist.

    Args:
        results: the scale's results.
        ablations: the folder of the ablation files and the paper's numbers.

    Returns:
        plain JSON values: ``table`` (its name), ``cells`` (lines with the keys of ``TIDY``), ``statistics`` (intervals and
        comparisons, see :func:`mamo.reporting.comparisons.statistics`), ``pretrainings`` (row -> a list of ``{run, outcome,
        reason}``, one per seed), ``missing`` (keys of runs without a record), ``agreement`` (see
        :func:`mamo.reporting.agreement.agreement`) and, for readings, ``curve`` (see
        :func:`mamo.reporting.specification_curve.curve`).

    Raises:
        KeyError: a run recorded no such metric; the message names both.
        ItemsError: a run's results per item do not belong to its record.
    """
    records = read_records(plan, table.inputs, results)
    name = table.ablation.name
    submitted = {column.key: column.submitted for column in table.ablation.columns}
    cells = [line for cell in table.cells for line in _lines(name, cell, records, submitted[cell.column])]
    if table.ablation.kind == "statistics":
        cells = [line for key in table.inputs for line in _counts(name, plan, key, records[key], results)]
    lines: list[dict[str, Any]] = []
    order: list[dict[str, Any]] = []
    if table.cells:
        from mamo.reporting.agreement import agreement
        from mamo.reporting.comparisons import make_grid, statistics
        from mamo.reporting.paper import find_paper

        grid = make_grid(plan, table, records, results)
        lines = statistics(table, grid)
        paper = find_paper(table.ablation.paper, ablations)
        order = agreement(grid, paper) if paper else []
        # A server's score comes without results per item: what these say belongs to another value.
        scored = {(cell["row"], cell["column"]) for cell in cells if cell["metric"] in METRICS.values()}
        lines = [line for line in lines if (line["row"], line["column"]) not in scored]
    more: dict[str, Any] = {}
    if table.ablation.kind == "readings":
        from mamo.reporting.specification_curve import curve

        more["curve"] = curve(plan, table, results, ablations)
    return {
        "table": name,
        "scale": plan.scale.name,
        "cells": cells,
        "statistics": lines,
        "agreement": order,
        **more,
        "pretrainings": {
            row: [_ending(key, records[key]) for key in keys] for row, keys in table.pretrainings.items()
        },
        "missing": [key for key, record in records.items() if record is None],
    }


def write_values(values: Mapping[str, Any], path: Path) -> None:
    """Write collected values as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values, indent=1) + "\n")


def read_values(path: Path) -> dict[str, Any]:
    """Read what ``write_values`` wrote."""
    return read_object(path)


def write_results(values: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write the cells of several tables to one CSV file, a line per value."""
    import pandas as pd

    lines = [_sensible(cell) for table in values for cell in table["cells"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as part:
        pd.DataFrame(lines, columns=list(TIDY)).to_csv(part, index=False)


def read_records(plan: Plan, keys: Iterable[str], results: Path) -> dict[str, Record | None]:
    """Run key -> its record; None where it has none."""
    return {key: _record(plan, key, results) for key in keys}


def write_statistics(values: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Write the intervals and comparisons of several tables to one CSV file, a line per cell."""
    import pandas as pd

    lines = [
        {"table": table["table"]} | _sensible(line)
        for table in values
        for line in table.get("statistics", ())
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as part:
        pd.DataFrame(lines, columns=list(STATISTICS)).to_csv(part, index=False)


def _sensible(line: Mapping[str, Any]) -> dict[str, Any]:
    """A line whose numbers have the digits that they can have."""
    return {key: sensible(value) if isinstance(value, float) else value for key, value in line.items()}


def _record(plan: Plan, key: str, results: Path) -> Record | None:
    path = plan.runs[key].record(results)
    if not path.is_file():
        return None
    record = read_record_file(path)
    scores = read_scores(path.parent)
    return record.model_copy(update={"metrics": {**record.metrics, **scores}}) if scores else record


def _lines(
    table: str, cell: Cell, records: Mapping[str, Record | None], submitted: str | None
) -> list[dict[str, Any]]:
    """A cell's values, one per seed; null where the run has no record or did not converge.

    Args:
        submitted: the server's metric, taken where its score was entered for every seed. A column of nothing else has no
            lines before that.
    """
    found = [record.metrics for key in cell.runs if (record := records[key]) is not None]
    if submitted and len(found) == len(cell.runs) and all(submitted in metrics for metrics in found):
        cell = replace(cell, metric=submitted)
    elif cell.metric in METRICS.values():
        return []
    lines = []
    for seed, key in enumerate(cell.runs):
        record = records[key]
        outcome = "missing" if record is None else record.outcome.status
        value = chance = None
        if record is not None and outcome == "converged":
            if cell.metric not in record.metrics:
                raise KeyError(
                    f"{key} recorded no '{cell.metric}' (it has {', '.join(sorted(record.metrics))})"
                )
            value, chance = record.metrics[cell.metric], record.metrics.get(f"chance/{cell.metric}")
        lines.append(
            dict(
                zip(
                    TIDY,
                    (table, cell.row, cell.column, cell.metric, seed, value, chance, key, outcome),
                    strict=True,
                )
            )
        )
    return lines


def _counts(table: str, plan: Plan, key: str, record: Record | None, results: Path) -> list[dict[str, Any]]:
    """Images and texts of one prepared data set (Table 10), from its manifest."""
    from mamo.data.statistics import statistics

    run = plan.runs[key]
    counts: Mapping[str, Any] = {}
    if record is not None:
        manifest = read_object(run.directory(results) / "manifest.json")
        counts = statistics(manifest)
    outcome = "missing" if record is None else record.outcome.status
    return [
        dict(
            zip(
                TIDY,
                (table, what, run.spec["dataset"], what, 0, counts.get(what), None, key, outcome),
                strict=True,
            )
        )
        for what in ("images", "texts")
    ]


def _ending(key: str, record: Record | None) -> dict[str, Any]:
    if record is None:
        return {"run": key, "outcome": "missing", "reason": None}
    return {"run": key, "outcome": record.outcome.status, "reason": record.outcome.reason}
