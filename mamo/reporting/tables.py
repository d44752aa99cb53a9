"""Build a table for display: our rows, chance below them, and the paper's rows, over the same columns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from mamo.reporting.paper import PaperTable
from mamo.specs.ablation import AblationSpec

DIVERGED, MISSING, NONE, ALIKE, SPREAD = "×", "…", "–", "≈", "±"
LEGEND = {
    DIVERGED: "the run diverged",
    MISSING: "the run has no result yet",
    SPREAD: "half of the 95 % interval",
    ALIKE: "cannot be told apart from the base row",
}


@dataclass(frozen=True)
class Heading:
    """A column's key, label and group ('' for none)."""

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
    """A table as a page shows it.

    Attributes:
        ours: our rows in the ablation's order.
        chance: score of a model without knowledge in each column, if the runs recorded it.
        reported: the paper's rows, empty if it has none.
    """

    headings: tuple[Heading, ...]
    ours: tuple[Line, ...]
    chance: Line | None
    reported: tuple[Line, ...]

    @property
    def legend(self) -> dict[str, str]:
        """Return the signs that occur in our rows, with their meanings."""
        shown = " ".join(text for line in self.ours for text in (line.label, *line.texts))
        return {sign: meaning for sign, meaning in LEGEND.items() if sign in shown}


def make_table(ablation: AblationSpec, values: Mapping[str, Any], paper: PaperTable | None) -> Table:
    """Join our values with the paper's.

    Args:
        values: from ``collect``.
        paper: the reported numbers; None where the paper has no such table.
    """
    headings = headings_of(ablation, paper)
    decimals = {heading.key: decimals_of(heading.key, paper) for heading in headings}
    if ablation.kind == "statistics":
        rows = [("images", "images"), ("texts", "texts")]
    else:
        rows = [(row.key, row.label) for row in ablation.rows]
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in values["cells"]:
        cells.setdefault((cell["row"], cell["column"]), []).append(cell)
    found = {(line["row"], line["column"]): line for line in values.get("statistics", ())}
    alike = alike_rows(values)
    ours = tuple(
        Line(
            key,
            f"{label} {ALIKE}" if key in alike else label,
            tuple(
                show(cells.get((key, h.key), ()), decimals[h.key], found.get((key, h.key))) for h in headings
            ),
        )
        for key, label in rows
    )
    chances = tuple(_chance(cells, rows, heading.key, decimals[heading.key]) for heading in headings)
    chance = Line("chance", "Chance", chances) if any(text != NONE for text in chances) else None
    return Table(headings, ours, chance, _reported(headings, decimals, paper))


def primary(headings: Sequence[Heading]) -> list[bool]:
    """Choose the columns shown first: R@5 and R@10 are left out if their group has an R@1."""
    ones = {heading.group for heading in headings if heading.label.endswith("R@1")}
    return [not (h.group in ones and h.label.endswith(("R@5", "R@10"))) for h in headings]


def chosen(table: Table, columns: Sequence[bool]) -> Table:
    """Restrict a table to some of its columns."""

    def line(full: Line) -> Line:
        return replace(
            full, texts=tuple(text for text, shown in zip(full.texts, columns, strict=True) if shown)
        )

    return Table(
        tuple(heading for heading, shown in zip(table.headings, columns, strict=True) if shown),
        tuple(map(line, table.ours)),
        line(table.chance) if table.chance else None,
        tuple(map(line, table.reported)),
    )


def alike_rows(values: Mapping[str, Any]) -> set[str]:
    """Return the rows that neither a column nor all of them together tell from the base row."""
    lines: dict[str, list[Mapping[str, Any]]] = {}
    for line in values.get("statistics", ()):
        if line["against"]:
            lines.setdefault(line["row"], []).append(line)
    return {row for row, those in lines.items() if not told_apart(those)}


def told_apart(lines: Sequence[Mapping[str, Any]]) -> bool:
    """Check whether a row's comparisons together tell it from the base row: 5 % shared among its columns (Bonferroni)."""
    return min(line["difference_p"] for line in lines) <= 0.05 / len(lines)


def show(
    cells: Sequence[Mapping[str, Any]], decimals: int, statistics: Mapping[str, Any] | None = None
) -> str:
    """Format one cell over its seeds: the mean of the runs that converged, half its interval, and how many did not.

    Args:
        statistics: the cell's line of what ``collect`` calls statistics.
    """
    found = [cell["value"] for cell in cells if cell["value"] is not None]
    if not cells:
        return NONE
    if not found:
        return MISSING if any(cell["outcome"] == "missing" for cell in cells) else DIVERGED
    text = number(found[0] if len(found) == 1 else fmean(found), decimals)
    half = (statistics["mean_upper"] - statistics["mean_lower"]) / 2 if statistics else 0.0
    if half > 0:
        text += f" {SPREAD} {number(half, decimals)}"
    failed = sum(cell["outcome"] in ("diverged", "skipped") for cell in cells)
    waiting = sum(cell["outcome"] == "missing" for cell in cells)
    return (
        text
        + (f" ({failed} of {len(cells)} {DIVERGED})" if failed else "")
        + (f" ({waiting} {MISSING})" if waiting else "")
    )


def number(value: float, decimals: int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{decimals}f}" if math.isfinite(value) else DIVERGED


def sensible(value: float) -> float:
    """Round to six significant digits: percentages of test sets have no more."""
    return value if isinstance(value, int) else float(f"{value:.6g}")


def _chance(
    cells: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    rows: Sequence[tuple[str, str]],
    column: str,
    decimals: int,
) -> str:
    found = [c["chance"] for key, _ in rows for c in cells.get((key, column), ()) if c["chance"] is not None]
    return number(fmean(found), decimals) if found else NONE


def headings_of(ablation: AblationSpec, paper: PaperTable | None) -> tuple[Heading, ...]:
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


def decimals_of(column: str, paper: PaperTable | None) -> int:
    """Return the number of decimals that the paper gives in this column; 1 if it gives none."""
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
            texts.append(text if value is None else number(value, decimals[heading.key]))
        lines.append(Line(row.key, label, tuple(texts)))
    return tuple(lines)
