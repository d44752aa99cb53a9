"""Put a table's results into a grid that can be resampled, and compare each row with the base row."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from mamo.files.record import Record
from mamo.reporting.images import images_of
from mamo.reporting.items import Contributions, contributions, read_items
from mamo.reporting.resampling import Estimate, Grid
from mamo.reporting.values import CellStatistics
from mamo.specs.identity import Run
from mamo.specs.plan import Plan, TablePlan

# A recorded metric and the mean over the items that it comes from differ by rounding only.
_TOLERANCE = 1e-6


class ItemsError(ValueError):
    """A run's results per item do not match its record; the message names the run and what to do."""


def make_grid(plan: Plan, table: TablePlan, records: Mapping[str, Record | None], results: Path) -> Grid:
    """Collect the results of a table's runs, with their results per item if there are any.

    Args:
        records: run key -> its record; None where it has none.
        results: the scale's results.

    Raises:
        ItemsError: a run's items do not give its recorded metric.
    """
    rows = [row.key for row in table.ablation.rows]
    columns = [column.key for column in table.ablation.columns]
    seeds = table.ablation.seeds
    means = np.full((len(rows), seeds, len(columns)), np.nan)
    contributed: dict[str, dict[tuple[int, int], Contributions]] = {column: {} for column in columns}
    images: dict[str, dict[str, list[int]]] = {}
    for cell in table.cells:
        i, k = rows.index(cell.row), columns.index(cell.column)
        for seed, key in enumerate(cell.runs):
            record = records[key]
            if record is None or not record.converged:
                continue
            value = record.metrics.get(cell.metric)
            if value is None or not math.isfinite(value):
                continue
            means[i, seed, k] = value
            run = plan.runs[key]
            source = run.inputs[f"data:{run.spec['data'][0]}"]  # the first data set is the one evaluated
            if source not in images:
                images[source] = images_of(plan.runs[source].directory(results))
            contributed_values = _contributions(run, record, cell.metric, images[source], results)
            if contributed_values is not None:
                contributed[cell.column][i, seed] = contributed_values
    grid = Grid(rows, columns, means, [table.pretrainings[row] for row in rows])
    for column, by_place in contributed.items():
        # Rows with and without items cannot be compared fairly.
        if len(by_place) == np.isfinite(means[:, :, columns.index(column)]).sum():
            grid.resample(column, by_place)
    return grid


def cell_statistics(table: TablePlan, grid: Grid) -> list[CellStatistics]:
    """Compute the mean and interval of each cell, and its difference from the base row's."""
    base = table.ablation.base_row
    lines = []
    for row in grid.rows:
        for column in grid.columns:
            own = grid.estimate({row: 1.0}, {column: 1.0})
            if own is None:
                continue
            other = grid.estimate({row: 1.0, base: -1.0}, {column: 1.0}) if row != base else None
            lines.append(_line(row, column, own, base, other if other and other.resampled else None))
    return lines


def _line(row: str, column: str, own: Estimate, base: str, other: Estimate | None) -> CellStatistics:
    """Compute a cell, and its difference from the base row where something could be resampled."""
    compared: dict[str, str | float | int | None] = {"against": None}
    if other is not None:
        compared = {
            "against": base,
            "difference": other.value,
            "difference_lower": other.lower,
            "difference_upper": other.upper,
            "difference_noise": other.noise,
            "difference_p": other.p,
            "difference_seeds": other.seeds,
        }
    return CellStatistics.model_validate(
        {
            "row": row,
            "column": column,
            "mean": own.value,
            "mean_lower": own.lower,
            "mean_upper": own.upper,
            "mean_noise": own.noise,
            "seeds": own.seeds,
            "images": own.images,
            **compared,
        }
    )


def _contributions(
    run: Run, record: Record, metric: str, images: Mapping[str, list[int]], results: Path
) -> Contributions | None:
    directory = run.directory(results)
    items = read_items(directory)
    if items is None:
        return None
    contributed, value = (
        contributions(run.spec["task"], metric, items, images, record.metrics),
        record.metrics[metric],
    )
    if contributed is not None and abs(contributed.values.mean() - value) > _TOLERANCE * max(1.0, abs(value)):
        raise ItemsError(
            f"{directory}: its items give {contributed.values.mean():.4f} for '{metric}', its record {value:.4f}; "
            "remove the directory and execute the run again"
        )
    return contributed
