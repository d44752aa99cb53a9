"""Compare the order of our rows with the paper's: Kendall's tau-b, per column and over the columns, with its interval.

The interval covers what varies when our experiment is repeated, as for differences: test images are resampled, the same ones
for every row, and each row's mean gets a draw of the noise between seeds. The paper gives one number per cell, which is taken
as exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mamo.reporting.paper import PaperTable
from mamo.reporting.resampling import LEVEL, Grid
from mamo.reporting.tables import bracketed, signed
from mamo.reporting.values import Agreement

LEAST = 3  # fewest rows; with two, a difference says more than an order


def agreement(grid: Grid, paper: PaperTable) -> list[Agreement]:
    """Compute how well the order of our rows matches the paper's.

    Returns:
        a line over the mean of all columns that both have, then one for each column. The interval equals tau where nothing
        could be resampled. A line of fewer than ``LEAST`` rows, or whose rows are all alike, has None for the numbers.
    """
    theirs = {row.key: row.values for row in paper.rows}
    shared = [
        column for column in grid.columns if any(values.get(column) is not None for values in theirs.values())
    ]
    sets = [shared] if len(shared) > 1 else []
    return [_line(grid, columns, theirs) for columns in (*sets, *([column] for column in shared))]


def agreement_text(lines: Sequence[Agreement], names: Mapping[str, str]) -> str:
    """Put the agreement into a sentence; '' if the paper has no such table.

    Args:
        names: column -> its name in text.
    """
    if not lines:
        return ""
    known = [line for line in lines if line.tau is not None]
    if not known:
        most = max(line.rows for line in lines)
        return (
            f"**Order of rows.** {most} rows with values are in both tables: too few to compare their order."
        )
    first, *others = known
    text = (
        f"**Order of rows.** Kendall's τ between our order and the paper's is {_shown(first)} "
        + (f"in {names[first.column]}" if first.column else "in the mean of the columns")
        + f" ({first.rows} rows)"
    )
    if others:
        text += "; " + ", ".join(
            f"{names.get(line.column or '', line.column)} {_shown(line)}" for line in others
        )
    return text + (
        ". 1 is the same order, 0 none, −1 the reverse. The interval is over our test images and seeds; the paper gives one "
        "number per cell."
    )


def tau_b(ours_BR: np.ndarray, theirs_R: np.ndarray) -> np.ndarray:
    """Compute Kendall's tau-b of each line with ``theirs``: (B,); NaN if all values of one side are equal."""
    i, j = np.triu_indices(len(theirs_R), 1)
    a = np.sign(ours_BR[:, i] - ours_BR[:, j])
    b = np.sign(theirs_R[i] - theirs_R[j])
    untied = np.sqrt((a != 0).sum(1) * float((b != 0).sum()))
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: np.ndarray = (a * b).sum(1) / untied
    return tau


def _line(grid: Grid, columns: Sequence[str], theirs: Mapping[str, Mapping[str, float | None]]) -> Agreement:
    """Compute the agreement in the mean of some columns."""
    weights = dict.fromkeys(columns, 1 / len(columns))
    reported: dict[str, float] = {}
    for row in grid.rows:
        values = [theirs.get(row, {}).get(column) for column in columns]
        known = [value for value in values if value is not None]
        if len(known) == len(columns) and grid.has(row, weights):
            reported[row] = sum(weight * value for weight, value in zip(weights.values(), known, strict=True))
    column = columns[0] if len(columns) == 1 else None
    none = Agreement(column=column, rows=len(reported), tau=None, lower=None, upper=None, seeds=None)
    if len(reported) < LEAST:
        return none
    reported_R = np.round(np.array(list(reported.values())), 6)
    means_R, draws_BR, seeds = grid.rows_resampled(list(reported), weights)
    tau = float(tau_b(means_R[None], reported_R)[0])
    if not np.isfinite(tau):
        return none
    edge = (1 - LEVEL) / 2
    lower, upper = np.nanquantile(tau_b(draws_BR, reported_R), [edge, 1 - edge])
    return Agreement(
        column=column, rows=len(reported), tau=tau, lower=float(lower), upper=float(upper), seeds=seeds
    )


def _shown(line: Agreement) -> str:
    assert line.tau is not None and line.lower is not None and line.upper is not None
    return f"{signed(line.tau, 2)} {bracketed(line.lower, line.upper, 2)}"
