"""Write a table as numbers for programs: one line per cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from mamo.files.writing import beside
from mamo.reporting.differences import paper_difference
from mamo.reporting.paper import PaperTable
from mamo.reporting.tables import headings_of, sensible
from mamo.specs.ablation import AblationSpec

# ``low`` and ``high`` bound the 95 % interval; ``outcome`` says why a value is missing.
COLUMNS = (
    *("source", "key", "label", "column", "heading"),
    *("value", "low", "high", "seeds", "images", "outcome"),
)


def write_csv(
    ablation: AblationSpec, values: Mapping[str, Any], paper: PaperTable | None, path: Path
) -> None:
    """Write a line per cell: ``source`` says whether it is ours, chance, the paper's, or a difference from the base row."""
    import pandas as pd

    headings = {heading.key: heading.text for heading in headings_of(ablation, paper)}
    rows = [line | {"heading": headings.get(line["column"], "")} for line in _lines(ablation, values, paper)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame[["seeds", "images"]] = frame[["seeds", "images"]].astype("Int64")
    with beside(path) as part:
        frame.to_csv(part, index=False)


def _lines(
    ablation: AblationSpec, values: Mapping[str, Any], paper: PaperTable | None
) -> Iterator[dict[str, Any]]:
    cells: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in values["cells"]:
        cells.setdefault((cell["row"], cell["column"]), []).append(cell)
    intervals = {(line["row"], line["column"]): line for line in values.get("statistics", ())}
    labels = {row.key: row.label for row in ablation.rows}
    for (row, column), found in cells.items():
        known = [cell["value"] for cell in found if cell["value"] is not None]
        line = intervals.get((row, column), {})
        yield _line("ours", row, labels.get(row, row), column) | {
            "value": sensible(known[0] if len(known) == 1 else fmean(known)) if known else None,
            **_bounds(line, "mean"),
            "seeds": len(known),
            "images": line.get("images"),
            "outcome": "converged" if known else found[0]["outcome"],
        }
    for column in dict.fromkeys(column for _, column in cells):
        levels = [
            cell["chance"]
            for (_, other), found in cells.items()
            for cell in found
            if other == column and cell["chance"] is not None
        ]
        if levels:
            yield _line("chance", "chance", "Chance", column) | {"value": sensible(fmean(levels))}
    for reported in paper.rows if paper else ():
        for column, value in reported.values.items():
            if value is not None or reported.outcome == "diverged":
                yield _line("paper", reported.key, reported.label, column) | {
                    "value": value,
                    "outcome": reported.outcome,
                }
    for (row, column), line in intervals.items():
        if line["against"]:
            yield _line("our difference", row, labels.get(row, row), column) | {
                "value": sensible(line["difference"]),
                **_bounds(line, "difference"),
                "seeds": line["seeds"],
                "images": line["images"],
            }
            gap = paper_difference(paper, row, ablation.base_row, column)
            if gap is not None:
                yield _line("paper's difference", row, labels.get(row, row), column) | {"value": gap}


def _line(source: str, key: str, label: str, column: str) -> dict[str, Any]:
    return {"source": source, "key": key, "label": label, "column": column}


def _bounds(line: Mapping[str, Any], name: str) -> dict[str, float]:
    if not line or not line[f"{name}_upper"] > line[f"{name}_lower"]:
        return {}
    return {"low": sensible(line[f"{name}_lower"]), "high": sensible(line[f"{name}_upper"])}
