"""Compare each row of a table with its base row: our differences with intervals beside the paper's."""

from __future__ import annotations

from mamo.reporting.markdown import markdown_table, wrapped
from mamo.reporting.paper import PaperTable
from mamo.reporting.tables import (
    ALIKE,
    NONE,
    Line,
    Table,
    bracketed,
    decimals_of,
    headings_of,
    marked,
    signed,
)
from mamo.reporting.values import CellStatistics, TableValues
from mamo.specs.ablation import AblationSpec


def make_differences(ablation: AblationSpec, values: TableValues, paper: PaperTable | None) -> Table | None:
    """Compute each row's difference from the base row with its 95 % interval, and the paper's for the same rows.

    Returns:
        None where nothing could be compared.
    """
    rows = {line.row for line in values.compared}
    columns = {line.column for line in values.compared}
    shown = [heading for heading in headings_of(ablation, paper) if heading.key in columns]
    lines = tuple(
        Line(
            row.key,
            marked(values, row.key, row.label),
            tuple(
                _difference(values.statistics_at(row.key, h.key), decimals_of(h.key, paper)) for h in shown
            ),
        )
        for row in ablation.rows
        if row.key in rows
    )
    reported = tuple(
        Line(
            row.key,
            row.label,
            tuple(
                NONE
                if (gap := paper_difference(paper, row.key, ablation.base_row, h.key)) is None
                else signed(gap, decimals_of(h.key, paper))
                for h in shown
            ),
        )
        for row in (paper.rows if paper else ())
        if row.key in [line.key for line in lines]
    )
    return Table(tuple(shown), lines, None, reported) if lines else None


def paper_difference(paper: PaperTable | None, row: str, base: str, column: str) -> float | None:
    """Difference of two of the paper's rows in a column; None if it does not give both."""
    value_of = {line.key: line.values.get(column) for line in paper.rows} if paper else {}
    own, other = value_of.get(row), value_of.get(base)
    return None if own is None or other is None else round(own - other, 6)


def base_label(ablation: AblationSpec) -> str:
    """Return the label of the row that the others are compared to."""
    return next((row.label for row in ablation.rows if row.key == ablation.base_row), "")


def differences_section(
    ablation: AblationSpec, values: TableValues, gaps: Table, paper: PaperTable | None
) -> str:
    """Write the section on differences from the base row: ours with intervals, the paper's, and what the two say together."""
    parts = [
        wrapped(
            f"Paired with {base_label(ablation)} on the same test images"
            + (" and seeds" if ablation.seeds > 1 else "")
            + f"; percentage points, 95 % interval in brackets; {ALIKE} where it includes 0. {_resampled(values)}"
        ),
        markdown_table(gaps.headings, gaps.ours),
    ]
    if gaps.reported:
        parts += ["The paper's differences of the same rows:", markdown_table(gaps.headings, gaps.reported)]
        parts.append(wrapped(_in_the_light_of(ablation, values, paper)))
    return "\n\n".join(part for part in parts if part)


def _resampled(values: TableValues) -> str:
    seeds = max((line.seeds for line in values.statistics), default=1)
    if not any(line.images for line in values.statistics):
        return (
            "**No results per item** were recorded, so intervals are over training seeds alone."
            if seeds > 1
            else ""
        )
    if seeds > 1:
        return f"Intervals are over test images and training seeds ({seeds} per row)."
    return (
        "**One seed:** intervals are over test images alone. They say how much these very models differ, not what training "
        "them again would give."
    )


def _in_the_light_of(ablation: AblationSpec, values: TableValues, paper: PaperTable | None) -> str:
    """Count the paper's differences that are smaller than the uncertainty of ours."""
    pairs = [
        (paper_difference(paper, line.row, ablation.base_row, line.column), line.gap)
        for line in values.compared
    ]
    halves = [(theirs, gap.half) for theirs, gap in pairs if theirs is not None and gap is not None]
    if not halves:
        return ""
    hidden = sum(abs(gap) < half for gap, half in halves)
    least, most = min(half for _, half in halves), max(half for _, half in halves)
    return (
        f"{hidden} of the paper's {len(halves)} differences here are smaller than half of our interval in the same cell "
        f"({least:.1f} to {most:.1f} points): with our seeds and test images, "
        "differences of that size could not be seen. The paper gives one number per cell and no interval."
    )


def _difference(statistics: CellStatistics | None, places: int) -> str:
    gap = statistics.gap if statistics else None
    if gap is None:
        return NONE
    text = f"{signed(gap.value, places)} {bracketed(gap.lower, gap.upper, places)}"
    return f"{text} {ALIKE}" if gap.holds_zero else text
