"""Compare our numbers with the paper's, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from mamo.reporting.paper import load_paper
from mamo.reporting.tables import DIVERGED, MISSING, NONE, decimals_of, headings_of, number, signed
from mamo.reporting.values import SeedValue, TableValues, mean_of
from mamo.specs.plan import TablePlan


@dataclass(frozen=True)
class ReportedCell:
    """One cell of ours beside the paper's, in percent; None where there is nothing.

    Attributes:
        label, heading: of the row and the column.
        ours: the mean over the seeds that converged.
        half: half of its 95 % interval.
        ended, reported: how our runs and the paper's ended.
    """

    table: str
    row: str
    label: str
    column: str
    heading: str
    ours: float | None
    half: float | None
    seeds: int | None
    paper: float | None
    difference: float | None
    ended: str | None
    reported: str | None


CELL = tuple(field.name for field in fields(ReportedCell))  # the columns of the CSV file


def reported_cells(
    table: TablePlan, values: TableValues, ablations: Path, edition: str = "arxiv"
) -> list[ReportedCell]:
    """List each cell that we or the paper have; none if the edition has no such table.

    Args:
        edition: a folder of the paper's numbers.

    Raises:
        SpecError: there is no such edition.
    """
    ablation = table.ablation
    paper = load_paper(ablation.paper, ablations, edition) if ablation.paper else None
    if paper is None:
        return []
    labels = {row.key: row.label for row in ablation.rows}
    labels |= {row.key: row.label for row in paper.rows if row.key not in labels}
    theirs = {row.key: row for row in paper.rows}
    cells = []
    for row, label in labels.items():
        for heading in headings_of(ablation, paper):
            own = values.at(row, heading.key)
            given = theirs[row].values.get(heading.key) if row in theirs else None
            outcome = theirs[row].outcome if row in theirs else None
            if not own and given is None and outcome != "diverged":
                continue
            ours, line = mean_of(own), values.statistics_at(row, heading.key)
            cells.append(
                ReportedCell(
                    table=ablation.name,
                    row=row,
                    label=label,
                    column=heading.key,
                    heading=heading.text,
                    ours=ours,
                    half=line.half if line else None,
                    seeds=line.seeds if line else None,
                    paper=given,
                    difference=None if ours is None or given is None else ours - given,
                    ended=_ended(own),
                    reported=outcome,
                )
            )
    return cells


def cell_lines(
    table: TablePlan, cells: Sequence[ReportedCell], ablations: Path, edition: str = "arxiv"
) -> Iterator[str]:
    """Format cells as aligned text under the table's title."""
    ablation = table.ablation
    paper = load_paper(ablation.paper, ablations, edition) if ablation.paper else None
    yield f"{ablation.name}: {ablation.title}"
    if not cells:
        yield f"  the edition '{edition}' gives no numbers for it"
        return
    wide = max(len(f"{cell.label}, {cell.heading}") for cell in cells)
    yield f"  {'':{wide}}  {'ours':>18} {'paper':>10} {'difference':>10}"
    for cell in cells:
        places = decimals_of(cell.column, paper)
        name = f"{cell.label}, {cell.heading}"
        yield f"  {name:{wide}}  {_ours(cell, places):>18} {_paper(cell, places):>10} {_difference(cell, places):>10}"


def _ended(seeds: list[SeedValue]) -> str | None:
    """Return how a cell's runs ended: converged where one has a value, else the worst; None where there are no runs."""
    if mean_of(seeds) is not None:
        return "converged"
    outcomes = [seed.outcome for seed in seeds]
    worst = next(
        (outcome for outcome in ("missing", "diverged", "skipped") if outcome in outcomes), "converged"
    )
    return worst if seeds else None


def _ours(cell: ReportedCell, places: int) -> str:
    if cell.ours is None:
        return NONE if cell.ended is None else MISSING if cell.ended == "missing" else DIVERGED
    half = f" ± {cell.half:.{places}f}" if cell.half else ""
    return number(cell.ours, places) + half


def _paper(cell: ReportedCell, places: int) -> str:
    if cell.paper is None:
        return DIVERGED if cell.reported == "diverged" else NONE
    return number(cell.paper, places)


def _difference(cell: ReportedCell, places: int) -> str:
    return NONE if cell.difference is None else signed(cell.difference, places)
