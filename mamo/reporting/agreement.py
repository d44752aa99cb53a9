"""Compare the order of our rows with the paper's: Kendall's tau-b, per column and over the columns, with its interval.

The interval covers what varies when our experiment is repeated, as for differences: test images are resampled, the same ones
for every row, and each row's mean gets a draw of the noise between seeds. The paper gives one number per cell, which is taken
as exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mamo.reporting.differences import signed
from mamo.reporting.paper import PaperTable
from mamo.reporting.resampling import LEVEL, Grid

LEAST = 3  # fewest rows; with two, a difference says more than an order


def agreement(grid: Grid, paper: PaperTable) -> list[dict[str, Any]]:
    """Compute how well the order of our rows matches the paper's.

    Returns:
        a line over the mean of all columns that both have (``column`` is None), then one for each column, plain JSON values:
        ``rows`` (how many both have), ``tau``, ``lower``, ``upper`` (of the 95 % interval; equal to ``tau`` where nothing could
        be resampled) and ``seeds``. A line of fewer than ``LEAST`` rows, or whose rows are all alike, has None for the numbers.
    """
    theirs = {row.key: row.values for row in paper.rows}
    shared = [
        column for column in grid.columns if any(values.get(column) is not None for values in theirs.values())
    ]
    sets = [shared] if len(shared) > 1 else []
    lines = []
    for columns in (*sets, *([column] for column in shared)):
        weight = dict.fromkeys(columns, 1 / len(columns))
        found = _line(grid, weight, theirs)
        lines.append({"column": columns[0] if len(columns) == 1 else None, **found})
    return lines


def agreement_text(lines: Sequence[Mapping[str, Any]], names: Mapping[str, str]) -> str:
    """Put the agreement into a sentence; '' if the paper has no such table.

    Args:
        names: column -> its name in text.
    """
    if not lines:
        return ""
    known = [line for line in lines if line["tau"] is not None]
    if not known:
        most = max(line["rows"] for line in lines)
        return (
            f"**Order of rows.** {most} rows with values are in both tables: too few to compare their order."
        )
    first, *others = known
    text = (
        f"**Order of rows.** Kendall's τ between our order and the paper's is {_shown(first)} "
        + (f"in {names[first['column']]}" if first["column"] else "in the mean of the columns")
        + f" ({first['rows']} rows)"
    )
    if others:
        text += "; " + ", ".join(
            f"{names.get(line['column'], line['column'])} {_shown(line)}" for line in others
        )
    return text + (
        ". 1 is the same order, 0 none, −1 the reverse. The interval is over our test images and seeds; the paper gives one "
        "number per cell."
    )


def tau_b(ours_BR: np.ndarray, theirs_R: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of each line with ``theirs``: (B,); NaN if all values of one side are equal."""
    i, j = np.triu_indices(len(theirs_R), 1)
    a = np.sign(ours_BR[:, i] - ours_BR[:, j])
    b = np.sign(theirs_R[i] - theirs_R[j])
    untied = np.sqrt((a != 0).sum(1) * float((b != 0).sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: np.ndarray = (a * b).sum(1) / untied
    return tau


def _line(
    grid: Grid, columns: Mapping[str, float], theirs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The agreement in a weighted mean of columns."""
    rows = [
        row
        for row in grid.rows
        if all(theirs.get(row, {}).get(column) is not None for column in columns) and grid.has(row, columns)
    ]
    none = {"rows": len(rows), "tau": None, "lower": None, "upper": None, "seeds": None}
    if len(rows) < LEAST:
        return none
    reported_R = np.array([sum(w * theirs[row][column] for column, w in columns.items()) for row in rows])
    means_R, draws_BR, seeds = grid.rows_resampled(rows, columns)
    tau = float(tau_b(means_R[None], np.round(reported_R, 6))[0])
    if not np.isfinite(tau):
        return none
    drawn = tau_b(draws_BR, np.round(reported_R, 6))
    edge = (1 - LEVEL) / 2
    lower, upper = np.nanquantile(drawn, [edge, 1 - edge])
    return {"rows": len(rows), "tau": tau, "lower": float(lower), "upper": float(upper), "seeds": seeds}


def _shown(line: Mapping[str, Any]) -> str:
    return f"{signed(line['tau'], 2)} [{signed(line['lower'], 2)}, {signed(line['upper'], 2)}]"
