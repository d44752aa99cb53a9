"""Write a table as numbers for programs: one line per cell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamo.files.writing import atomic_write
from mamo.reporting.differences import paper_difference
from mamo.reporting.paper import PaperTable
from mamo.reporting.tables import headings_of, sensible
from mamo.reporting.values import TableValues, chance_of, mean_of
from mamo.specs.ablation import AblationSpec

# ``low`` and ``high`` bound the 95 % interval; ``outcome`` says why a value is missing, or that it is a diverged model's.
COLUMNS = (
    *("source", "key", "label", "column", "heading"),
    *("value", "low", "high", "seeds", "images", "outcome"),
)


def write_csv(ablation: AblationSpec, values: TableValues, paper: PaperTable | None, path: Path) -> None:
    """Write a line per cell: ``source`` says whether it is ours, chance, the paper's, or a difference from the base row."""
    import pandas as pd

    headings = {heading.key: heading.text for heading in headings_of(ablation, paper)}
    rows = [line | {"heading": headings.get(line["column"], "")} for line in _lines(ablation, values, paper)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame[["seeds", "images"]] = frame[["seeds", "images"]].astype("Int64")
    with atomic_write(path) as part:
        frame.to_csv(part, index=False)


def _lines(ablation: AblationSpec, values: TableValues, paper: PaperTable | None) -> Iterator[dict[str, Any]]:
    labels = {row.key: row.label for row in ablation.rows}
    for (row, column), seeds in values.by_cell.items():
        mean, line = mean_of(seeds), values.statistics_at(row, column)
        yield _line("ours", row, labels.get(row, row), column) | {
            "value": None if mean is None else sensible(mean),
            **(_bounds(line.mean_lower, line.mean_upper) if line else {}),
            "seeds": sum(seed.value is not None for seed in seeds),
            "images": line.images if line else None,
            "outcome": seeds[0].outcome
            if mean is None
            else "diverged"
            if values.trained_on(row)
            else "converged",
        }
    for column in dict.fromkeys(column for _, column in values.by_cell):
        chance = chance_of([cell for cell in values.cells if cell.column == column])
        if chance is not None:
            yield _line("chance", "chance", "Chance", column) | {"value": sensible(chance)}
    for reported in paper.rows if paper else ():
        for column, value in reported.values.items():
            if value is not None or reported.outcome == "diverged":
                yield _line("paper", reported.key, reported.label, column) | {
                    "value": value,
                    "outcome": reported.outcome,
                }
    for line in values.compared:
        gap, row, column = line.gap, line.row, line.column
        assert gap is not None
        yield _line("our difference", row, labels.get(row, row), column) | {
            "value": sensible(gap.value),
            **_bounds(gap.lower, gap.upper),
            "seeds": line.seeds,
            "images": line.images,
        }
        theirs = paper_difference(paper, row, ablation.base_row, column)
        if theirs is not None:
            yield _line("paper's difference", row, labels.get(row, row), column) | {"value": theirs}


def _line(source: str, key: str, label: str, column: str) -> dict[str, Any]:
    return {"source": source, "key": key, "label": label, "column": column}


def _bounds(lower: float, upper: float) -> dict[str, float]:
    """Return the ends of an interval; none if nothing was resampled."""
    return {"low": sensible(lower), "high": sensible(upper)} if upper > lower else {}
