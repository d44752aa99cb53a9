"""Collect the values of one table or figure from the runs' records."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from mamo.data.releases.vqa_server import METRICS, read_scores
from mamo.files.record import Record
from mamo.files.stored import StoredError, read_object, read_record_file
from mamo.files.writing import atomic_write, write_text
from mamo.reporting.pages import CLAIMS
from mamo.reporting.tables import sensible
from mamo.reporting.values import (
    Agreement,
    CellStatistics,
    CurveQuestion,
    Ended,
    Ending,
    MissedCheck,
    SeedValue,
    TableValues,
)
from mamo.specs.plan import Cell, Plan, TablePlan

# The columns of results.csv, one line per value.
TIDY = ("table", "row", "column", "metric", "seed", "value", "chance", "run", "outcome")
# The columns of statistics.csv, one line per cell; in percent and percentage points.
STATISTICS = (
    *("table", "row", "column", "seeds", "images", "mean", "mean_lower", "mean_upper", "mean_noise"),
    *("against", "difference", "difference_lower", "difference_upper", "difference_p", "difference_noise"),
)


def collect(plan: Plan, table: TablePlan, results: Path, ablations: Path = Path("ablations")) -> TableValues:
    """Collect the values of a table from the records that exist.

    Args:
        results: the scale's results.
        ablations: the folder of the ablation files and the paper's numbers.

    Raises:
        KeyError: a run recorded no such metric; the message names both.
        ItemsError: a run's results per item do not belong to its record.
    """
    records = read_records(plan, table.inputs, results)
    name = table.ablation.name
    submitted = {column.key: column.submitted for column in table.ablation.columns}
    cells = [value for cell in table.cells for value in _seeds(name, cell, records, submitted[cell.column])]
    if table.ablation.kind == "statistics":
        cells = [value for key in table.inputs for value in _counts(name, plan, key, records[key], results)]
    lines: list[CellStatistics] = []
    order: list[Agreement] = []
    lengths: list[str] = []
    if table.cells:
        from mamo.reporting.agreement import agreement
        from mamo.reporting.comparisons import cell_statistics, make_grid
        from mamo.reporting.lengths import training_lengths
        from mamo.reporting.paper import find_paper

        grid = make_grid(plan, table, records, results)
        lines = cell_statistics(table, grid)
        paper = find_paper(table.ablation.paper, ablations)
        order = agreement(grid, paper) if paper else []
        # A server's score has no results per item; those in the run belong to another value.
        scored = {(cell.row, cell.column) for cell in cells if cell.metric in METRICS.values()}
        lines = [line for line in lines if (line.row, line.column) not in scored]
        lengths = training_lengths(plan, table, results, ablations)
    more: dict[str, tuple[CurveQuestion, ...]] = {}
    if table.ablation.kind == "readings":
        from mamo.reporting.specification_curve import answer_questions

        more["curve"] = tuple(answer_questions(plan, table, results, ablations))
    return TableValues(
        table=name,
        scale=plan.scale.name,
        cells=tuple(cells),
        statistics=tuple(lines),
        agreement=tuple(order),
        **more,
        lengths=tuple(lengths),
        pretrainings={
            row: tuple(_ending(key, records[key]) for key in keys) for row, keys in table.pretrainings.items()
        },
        missed=tuple(_missed(table, records)),
        missing=tuple(key for key, record in records.items() if record is None),
    )


def write_values(values: TableValues | Mapping[str, Any], path: Path) -> None:
    """Write the values of a table, or the judged claims, as JSON."""
    plain = values.as_json() if isinstance(values, TableValues) else values
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plain, indent=1) + "\n")


def read_values(paths: Iterable[Path]) -> tuple[dict[str, TableValues], dict[str, Any] | None]:
    """Read values written by ``write_values``.

    Returns:
        table name -> its values; and the judged claims, None where no file holds them.

    Raises:
        StoredError: a file is damaged.
    """
    fix = "delete it and call the command again, which makes it again"
    tables, claims = {}, None
    for path in paths:
        stored = read_object(path, fix)
        if stored.get("table") == CLAIMS:
            claims = stored
            continue
        try:
            values = TableValues.model_validate(stored)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise StoredError(f"{path}: does not hold the values of a table ({reason}); {fix}") from error
        tables[values.table] = values
    return tables, claims


def write_results(values: Iterable[TableValues], path: Path) -> None:
    """Write the cells of several tables to one CSV file, a line per value."""
    _write_csv([cell.as_json() for table in values for cell in table.cells], TIDY, path)


def write_statistics(values: Iterable[TableValues], path: Path) -> None:
    """Write the intervals and comparisons of several tables to one CSV file, a line per cell."""
    lines = [{"table": table.table} | line.as_json() for table in values for line in table.statistics]
    _write_csv(lines, STATISTICS, path)


def _write_csv(lines: Iterable[Mapping[str, Any]], columns: Sequence[str], path: Path) -> None:
    """Write lines, with numbers rounded to their significant digits."""
    import pandas as pd

    rows = [
        {key: sensible(value) if isinstance(value, float) else value for key, value in line.items()}
        for line in lines
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as part:
        pd.DataFrame(rows, columns=list(columns)).to_csv(part, index=False)


def read_records(plan: Plan, keys: Iterable[str], results: Path) -> dict[str, Record | None]:
    """Map run key -> its record; None where it has none."""
    return {key: _record(plan, key, results) for key in keys}


def _record(plan: Plan, key: str, results: Path) -> Record | None:
    path = plan.runs[key].record(results)
    if not path.is_file():
        return None
    record = read_record_file(path)
    scores = read_scores(path.parent)
    return record.model_copy(update={"metrics": {**record.metrics, **scores}}) if scores else record


def _seeds(
    table: str, cell: Cell, records: Mapping[str, Record | None], submitted: str | None
) -> list[SeedValue]:
    """Collect a cell's values, one per seed; None where the run has no record or did not converge.

    Args:
        submitted: the server's metric, used if its score was entered for every seed. A column with only this metric has no
            lines before that.
    """
    recorded = [record.metrics for key in cell.runs if (record := records[key]) is not None]
    if submitted and len(recorded) == len(cell.runs) and all(submitted in metrics for metrics in recorded):
        cell = replace(cell, metric=submitted)
    elif cell.metric in METRICS.values():
        return []
    values = []
    for seed, key in enumerate(cell.runs):
        record = records[key]
        value = chance = None
        if record is not None and record.converged:
            if cell.metric not in record.metrics:
                raise KeyError(
                    f"{key} recorded no '{cell.metric}' (it has {', '.join(sorted(record.metrics))})"
                )
            value, chance = record.metrics[cell.metric], record.metrics.get(f"chance/{cell.metric}")
        values.append(
            SeedValue(
                table=table,
                row=cell.row,
                column=cell.column,
                metric=cell.metric,
                seed=seed,
                value=value,
                chance=chance,
                run=key,
                outcome=_ended(record),
            )
        )
    return values


def _counts(table: str, plan: Plan, key: str, record: Record | None, results: Path) -> list[SeedValue]:
    """Count images and texts of one prepared data set (Table 10), from its manifest."""
    from mamo.data.store.manifest import Manifest, dataset_statistics

    run = plan.runs[key]
    counts: Mapping[str, int] = {}
    if record is not None:
        manifest = read_object(run.directory(results) / "manifest.json")
        counts = dataset_statistics(cast(Manifest, manifest))
    return [
        SeedValue(
            table=table,
            row=what,
            column=run.spec["dataset"],
            metric=what,
            seed=0,
            value=counts.get(what),
            chance=None,
            run=key,
            outcome=_ended(record),
        )
        for what in ("images", "texts")
    ]


def _missed(table: TablePlan, records: Mapping[str, Record | None]) -> Iterator[MissedCheck]:
    """Count, for each row, the pre-trainings and downstream runs that miss one of their own checks."""
    for row, keys in table.pretrainings.items():
        runs = dict.fromkeys([*keys, *(key for cell in table.cells if cell.row == row for key in cell.runs)])
        passed: dict[str, list[bool]] = {}
        for record in (records[key] for key in runs):
            for check in (record.checks or ()) if record is not None else ():
                passed.setdefault(check.name, []).append(check.passed)
        for name, those in passed.items():
            if not all(those):
                yield MissedCheck(row=row, check=name, missed=those.count(False), runs=len(those))


def _ended(record: Record | None) -> Ended:
    return "missing" if record is None else record.outcome.status


def _ending(key: str, record: Record | None) -> Ending:
    return Ending(run=key, outcome=_ended(record), reason=record.outcome.reason if record else None)
