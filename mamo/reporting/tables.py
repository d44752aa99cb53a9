"""A table as it is shown: our rows, chance under them, and the paper's rows, over the same columns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mamo.reporting.paper import PaperTable
from mamo.specs.ablation import AblationSpec

DIVERGED, MISSING, NONE = "×", "…", "–"
LEGEND = {DIVERGED: "the run diverged", MISSING: "the run has no result yet"}


@dataclass(frozen=True)
class Heading:
    """A column's key, label and the group that it stands under ('' for none)."""

    key: str
    label: str
    group: str

    @property
    def text(self) -> str:
        """Group and label in one."""
        return f"{self.group} {self.label}".strip()


@dataclass(frozen=True)
class Line:
    """One model: its key, its label and a text for every column."""

    key: str
    label: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """What a page shows.

    Attributes:
        ours: our rows in the ablation's order.
        chance: what a model without knowledge reaches in each column, where the runs recorded it.
        reported: the paper's rows, empty where it has none.
    """

    headings: tuple[Heading, ...]
    ours: tuple[Line, ...]
    chance: Line | None
    reported: tuple[Line, ...]

    @property
    def legend(self) -> dict[str, str]:
        """The signs that occur in our rows, with their meanings."""
        shown = " ".join(text for line in self.ours for text in line.texts)
        return {sign: meaning for sign, meaning in LEGEND.items() if sign in shown}


def make_table(ablation: AblationSpec, values: Mapping[str, Any], paper: PaperTable | None) -> Table:
    """Join our values with the paper's.

    Args:
        values: from ``collect``.
        paper: the reported numbers; None where the paper has no such table.
    """
    headings = _headings(ablation, paper)
    decimals = {heading.key: _decimals(heading.key, paper) for heading in headings}
    if ablation.kind == "statistics":
        rows = [("images", "images"), ("texts", "texts")]
    else:
        rows = [(row.key, row.label) for row in ablation.rows]
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in values["cells"]:
        cells.setdefault((cell["row"], cell["column"]), []).append(cell)
    ours = tuple(
        Line(key, label, tuple(show(cells.get((key, h.key), ()), decimals[h.key]) for h in headings))
        for key, label in rows
    )
    chances = tuple(_chance(cells, rows, heading.key, decimals[heading.key]) for heading in headings)
    chance = Line("chance", "Chance", chances) if any(text != NONE for text in chances) else None
    return Table(headings, ours, chance, _reported(headings, decimals, paper))


def show(cells: Sequence[Mapping[str, Any]], decimals: int) -> str:
    """One cell over its seeds: the mean of the runs that converged, its spread, and how many did not."""
    found = [cell["value"] for cell in cells if cell["value"] is not None]
    if not cells:
        return NONE
    if not found:
        return MISSING if any(cell["outcome"] == "missing" for cell in cells) else DIVERGED
    if len(cells) == 1:
        return _number(found[0], decimals)
    text = _number(statistics.fmean(found), decimals)
    if len(found) > 1:
        text += f" ± {_number(statistics.stdev(found), decimals)}"
    failed = sum(cell["outcome"] in ("diverged", "skipped") for cell in cells)
    waiting = sum(cell["outcome"] == "missing" for cell in cells)
    return (
        text
        + (f" ({failed} of {len(cells)} {DIVERGED})" if failed else "")
        + (f" ({waiting} {MISSING})" if waiting else "")
    )


def _number(value: float, decimals: int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{decimals}f}" if math.isfinite(value) else DIVERGED


def _chance(
    cells: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    rows: Sequence[tuple[str, str]],
    column: str,
    decimals: int,
) -> str:
    found = [c["chance"] for key, _ in rows for c in cells.get((key, column), ()) if c["chance"] is not None]
    return _number(statistics.fmean(found), decimals) if found else NONE


def _headings(ablation: AblationSpec, paper: PaperTable | None) -> tuple[Heading, ...]:
    """The paper's columns in its order, then those that only we have; labels are ours where both have the column."""
    own = {column.key: Heading(column.key, column.label, column.group) for column in ablation.columns}
    if ablation.kind == "statistics":
        labels = {column.key: column.label for column in paper.columns} if paper else {}
        own = {name: Heading(name, labels.get(name, name), "") for name in ablation.datasets}
    theirs = (
        {column.key: Heading(column.key, column.label, column.group) for column in paper.columns}
        if paper
        else {}
    )
    keys = [*theirs, *(key for key in own if key not in theirs)]
    return tuple(own.get(key) or theirs[key] for key in keys)


def _decimals(column: str, paper: PaperTable | None) -> int:
    """As many decimals as the paper gives in this column; 1 where it gives none."""
    values = [row.values.get(column) for row in paper.rows] if paper else []
    return max((len(str(value).partition(".")[2]) for value in values if isinstance(value, float)), default=1)


def _reported(
    headings: Sequence[Heading], decimals: Mapping[str, int], paper: PaperTable | None
) -> tuple[Line, ...]:
    lines = []
    for row in paper.rows if paper else ():
        label = f"{row.label} ({row.note})" if row.note else row.label
        texts = []
        for heading in headings:
            value = row.values.get(heading.key)
            text = DIVERGED if row.outcome == "diverged" else NONE
            texts.append(text if value is None else _number(value, decimals[heading.key]))
        lines.append(Line(row.key, label, tuple(texts)))
    return tuple(lines)
