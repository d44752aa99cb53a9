"""Build a table for display: our rows, chance below them, and the paper's rows, over the same columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mamo.reporting.paper import PaperTable
from mamo.reporting.values import CellStatistics, Difference, SeedValue, TableValues, chance_of, mean_of
from mamo.specs.ablation import AblationSpec

DIVERGED, MISSING, NONE, ALIKE, SPREAD = "×", "…", "–", "≈", "±"
LEGEND = {
    DIVERGED: "the run diverged",
    MISSING: "the run has no result yet",
    SPREAD: "half of the 95 % interval",
    ALIKE: "cannot be told apart from the base row",
}
TRAINED_ON = "behind a row's name: its pre-training diverged and was trained on; its numbers are those of the diverged model"


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
        trained_on: whether a row has numbers of a pre-training that diverged (see ``marked``).
    """

    headings: tuple[Heading, ...]
    ours: tuple[Line, ...]
    chance: Line | None
    reported: tuple[Line, ...]
    trained_on: bool = False

    @property
    def legend(self) -> dict[str, str]:
        """Return the signs that occur in our rows, with their meanings."""
        cells = " ".join(text for line in self.ours for text in line.texts)
        shown = " ".join([cells, *(line.label for line in self.ours)])
        found = {sign: meaning for sign, meaning in LEGEND.items() if sign in shown}
        if self.trained_on:
            found[DIVERGED] = "; ".join([LEGEND[DIVERGED]] * (DIVERGED in cells) + [TRAINED_ON])
        return found


def make_table(ablation: AblationSpec, values: TableValues, paper: PaperTable | None) -> Table:
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
    alike = alike_rows(values)
    ours = tuple(
        Line(
            key,
            marked(values, key, label) + (f" {ALIKE}" if key in alike else ""),
            tuple(
                show(values.at(key, h.key), decimals[h.key], values.statistics_at(key, h.key))
                for h in headings
            ),
        )
        for key, label in rows
    )
    keys = [key for key, _ in rows]
    chances = tuple(chance_text(values, keys, heading.key, decimals[heading.key]) for heading in headings)
    chance = Line("chance", "Chance", chances) if any(text != NONE for text in chances) else None
    return Table(
        headings,
        ours,
        chance,
        _reported(headings, decimals, paper),
        trained_on=any(values.trained_on(key) for key in keys),
    )


def marked(values: TableValues, row: str, label: str) -> str:
    """Mark the label of a row that has numbers of pre-trainings that diverged: ``label ×``, or ``label (2 of 5 ×)``."""
    count, seeds = values.trained_on(row), len(values.pretrainings.get(row, ()))
    if not count:
        return label
    return f"{label} {DIVERGED}" if count == seeds else f"{label} ({count} of {seeds} {DIVERGED})"


def primary(headings: Sequence[Heading]) -> list[bool]:
    """Choose the columns shown first: R@5 and R@10 are left out if their group has an R@1."""
    ones = {heading.group for heading in headings if heading.label.endswith("R@1")}
    return [not (h.group in ones and h.label.endswith(("R@5", "R@10"))) for h in headings]


def select_columns(table: Table, columns: Sequence[bool]) -> Table:
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
        table.trained_on,
    )


def alike_rows(values: TableValues) -> set[str]:
    """Return the rows that neither a column nor all of them together tell from the base row."""
    gaps: dict[str, list[Difference]] = {}
    for line in values.statistics:
        if line.gap is not None:
            gaps.setdefault(line.row, []).append(line.gap)
    return {row for row, compared in gaps.items() if not told_apart(compared)}


def told_apart(gaps: Sequence[Difference]) -> bool:
    """Check whether a row's comparisons together tell it from the base row: 5 % shared among its columns (Bonferroni)."""
    return min(gap.p for gap in gaps) <= 0.05 / len(gaps)


def show(cells: list[SeedValue], decimals: int, statistics: CellStatistics | None = None) -> str:
    """Format one cell over its seeds: the mean of the runs that converged, half its interval, and how many did not."""
    if not cells:
        return NONE
    mean = mean_of(cells)
    if mean is None:
        return MISSING if any(cell.outcome == "missing" for cell in cells) else DIVERGED
    text = number(mean, decimals)
    if statistics and statistics.half > 0:
        text += f" {SPREAD} {number(statistics.half, decimals)}"
    failed = sum(cell.outcome in ("diverged", "skipped") for cell in cells)
    waiting = sum(cell.outcome == "missing" for cell in cells)
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


def signed(value: float, decimals: int) -> str:
    """Write a difference with its sign, ``+1.2`` or ``−0.4``; 0 has none. Whole numbers are counts, and have no decimals."""
    text = f"{value:+,}" if isinstance(value, int) else f"{value:+,.{decimals}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) else text[1:]


def bracketed(lower: float, upper: float, decimals: int) -> str:
    """Write an interval of a difference, ``[−0.4, +2.8]``."""
    return f"[{signed(lower, decimals)}, {signed(upper, decimals)}]"


def chance_text(values: TableValues, rows: Iterable[str], column: str, decimals: int) -> str:
    """Return the mean chance level of some rows in a column."""
    chance = chance_of([cell for row in rows for cell in values.at(row, column)])
    return NONE if chance is None else number(chance, decimals)


def headings_of(ablation: AblationSpec, paper: PaperTable | None) -> tuple[Heading, ...]:
    """Return the paper's columns in its order, then those that only we have; labels are ours where both have the column."""
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
