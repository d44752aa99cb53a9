"""Write what DVC compares between commits: a table's values, and the training curves of a scale's pre-trainings."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from mamo.files.writing import atomic_write, write_json
from mamo.reporting.site.runs import curves
from mamo.reporting.values import TableValues, mean_of
from mamo.specs.plan import Plan

CURVES = "curves"


def metrics_file(table: str) -> str:
    """Return the file of a table's values for ``dvc metrics``, below ``reports/<scale>``."""
    return f"metrics/{table}.json"


def curve_files(plan: Plan) -> dict[str, str]:
    """Map each pre-training that the scale's tables read -> the file of its curve for ``dvc plots``, below ``reports/<scale>``.

    The file is named by the run without its digest, so that a curve is compared with that of another recipe.
    """
    runs = [run for key, run in plan.runs.items() if run.kind == "pretrain" and key in plan.whole]
    count = Counter(run.name for run in runs)
    return {run.key: f"{CURVES}/{run.name if count[run.name] == 1 else run.id}.csv" for run in runs}


def write_metrics(values: TableValues, path: Path) -> None:
    """Write row -> column -> mean over seeds; runs that did not converge have no number."""
    means: dict[str, dict[str, float]] = {}
    for (row, column), seeds in values.by_cell.items():
        mean = mean_of(seeds)
        if mean is not None:
            means.setdefault(row, {})[column] = float(mean)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, means)


def write_curves(plan: Plan, results: Path, reports: Path) -> None:
    """Write the curve of each pre-training, thinned out, and remove those of runs that are no longer planned."""
    folder, files, found = reports / CURVES, curve_files(plan), curves(plan, results)
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.csv"):
        if f"{CURVES}/{path.name}" not in files.values():
            path.unlink()
    for key, file in files.items():
        columns = found.get(key) or {"step": [], "loss": []}
        _write_rows(columns, zip(*columns.values(), strict=True), reports / file)


def _write_rows(header: Iterable[str], rows: Iterable[Iterable[float | None]], path: Path) -> None:
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(["" if value is None else value for value in row] for row in rows)
