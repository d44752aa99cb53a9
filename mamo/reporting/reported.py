"""Compare our numbers with the paper's, cell by cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from mamo.reporting.paper import load_paper
from mamo.reporting.tables import DIVERGED, MISSING, NONE, decimals_of, headings_of, number
from mamo.specs.plan import TablePlan

# Columns of the lines.
CELL = (
    "table",
    "row",
    "label",
    "column",
    "heading",
    "ours",
    "half",
    "seeds",
    "paper",
    "difference",
    "ended",
    "reported",
)


def reported_cells(
    table: TablePlan, values: Mapping[str, Any], ablations: Path, edition: str = "arxiv"
) -> list[dict[str, Any]]:
    """A line for each cell that we or the paper have.

    Args:
        values: from ``collect``.
        edition: a folder of the paper's numbers.

    Returns:
        lines with the keys of ``CELL``: ``ours`` is the mean over the seeds that converged, ``half`` half of its 95 % interval;
        ``ended`` and ``reported`` say how our runs and the paper's ended. None where there is nothing. No lines where the
        edition has no such table.

    Raises:
        SpecError: there is no such edition.
    """
    ablation = table.ablation
    paper = load_paper(ablation.paper, ablations, edition) if ablation.paper else None
    if paper is None:
        return []
    own = _own(values)
    labels = {row.key: row.label for row in ablation.rows}
    labels |= {row.key: row.label for row in paper.rows if row.key not in labels}
    theirs = {row.key: row for row in paper.rows}
    intervals = {(line["row"], line["column"]): line for line in values.get("statistics", ())}
    lines = []
    for row, label in labels.items():
        for heading in headings_of(ablation, paper):
            ours, ended = own.get((row, heading.key), (None, None))
            given = theirs[row].values.get(heading.key) if row in theirs else None
            outcome = theirs[row].outcome if row in theirs else None
            if ended is None and given is None and outcome != "diverged":
                continue
            line = intervals.get((row, heading.key))
            lines.append(
                {
                    "table": ablation.name,
                    "row": row,
                    "label": label,
                    "column": heading.key,
                    "heading": heading.text,
                    "ours": ours,
                    "half": (line["mean_upper"] - line["mean_lower"]) / 2 if line else None,
                    "seeds": line["seeds"] if line else None,
                    "paper": given,
                    "difference": None if ours is None or given is None else ours - given,
                    "ended": ended,
                    "reported": outcome,
                }
            )
    return lines


def cell_lines(
    table: TablePlan, lines: Sequence[Mapping[str, Any]], ablations: Path, edition: str = "arxiv"
) -> Iterator[str]:
    """Format cells as aligned text under the table's title."""
    ablation = table.ablation
    paper = load_paper(ablation.paper, ablations, edition) if ablation.paper else None
    yield f"{ablation.name}: {ablation.title}"
    if not lines:
        yield f"  the edition '{edition}' gives no numbers for it"
        return
    wide = max(len(f"{line['label']}, {line['heading']}") for line in lines)
    yield f"  {'':{wide}}  {'ours':>18} {'paper':>10} {'difference':>10}"
    for line in lines:
        places = decimals_of(line["column"], paper)
        name = f"{line['label']}, {line['heading']}"
        yield f"  {name:{wide}}  {_ours(line, places):>18} {_paper(line, places):>10} {_difference(line, places):>10}"


def _own(values: Mapping[str, Any]) -> dict[tuple[str, str], tuple[float | None, str]]:
    """Map (row, column) -> mean over the seeds that have a value, and how the cell's runs ended."""
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in values["cells"]:
        cells.setdefault((cell["row"], cell["column"]), []).append(cell)
    found = {}
    for key, those in cells.items():
        known = [cell["value"] for cell in those if cell["value"] is not None]
        outcomes = [cell["outcome"] for cell in those]
        worst = next((o for o in ("missing", "diverged", "skipped") if o in outcomes), "converged")
        mean = known[0] if len(known) == 1 else fmean(known) if known else None
        found[key] = (mean, "converged" if known else worst)
    return found


def _ours(line: Mapping[str, Any], places: int) -> str:
    if line["ours"] is None:
        return NONE if line["ended"] is None else MISSING if line["ended"] == "missing" else DIVERGED
    half = f" ± {line['half']:.{places}f}" if line["half"] else ""
    return number(line["ours"], places) + half


def _paper(line: Mapping[str, Any], places: int) -> str:
    if line["paper"] is None:
        return DIVERGED if line["reported"] == "diverged" else NONE
    return number(line["paper"], places)


def _difference(line: Mapping[str, Any], places: int) -> str:
    if line["difference"] is None:
        return NONE
    if isinstance(line["difference"], int):
        return f"{line['difference']:+,}"
    return f"{line['difference']:+.{places}f}"
