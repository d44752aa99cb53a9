"""Give the claims access to one table: its results, outcomes, chance levels and the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mamo.reporting.collect import read_records
from mamo.reporting.comparisons import make_grid
from mamo.reporting.names import row_names
from mamo.reporting.paper import PaperTable, load_paper
from mamo.specs.claims import CHANCE, REPORTED, ClaimTest, is_row
from mamo.specs.plan import Plan, TablePlan


class TableResults:
    """One table as the claims need it."""

    def __init__(self, plan: Plan, table: TablePlan, results: Path, ablations: Path) -> None:
        self.plan, self.table, self.ablation = plan, table, table.ablation
        self.records = read_records(plan, table.inputs, results)
        self.grid = make_grid(plan, table, self.records, results)
        self.ablations = ablations

    @cached_property
    def paper(self) -> PaperTable | None:
        """The paper's numbers of the table; None where it has none."""
        paper = self.ablation.paper
        return load_paper(paper, self.ablations) if paper else None

    def columns(self, test: ClaimTest) -> list[str]:
        """Return the columns of a test: those that all its rows show."""
        shown = {(cell.row, cell.column) for cell in self.table.cells}
        return [
            column.key
            for column in self.ablation.columns
            if (test.columns is None or column.key in test.columns)
            and all((r, column.key) in shown for r in test.rows)
        ]

    def outcomes(self, row: str) -> list[str]:
        """Return the outcomes of a row's pre-trainings."""
        records = [self.records[key] for key in self.table.pretrainings[row]]
        return ["missing" if record is None else record.outcome.status for record in records]

    def waits(self, row: str, columns: Sequence[str]) -> bool:
        """Check whether a pre-training of a row, or a result of it in one of the columns, is not made yet."""
        runs = [
            key
            for cell in self.table.cells
            if cell.row == row and cell.column in columns
            for key in cell.runs
        ]
        return any(self.records[key] is None for key in (*self.table.pretrainings[row], *runs))

    def chance(self, columns: Sequence[str]) -> float | None:
        """Mean of the columns' chance levels; None if one is not known."""
        levels = []
        for column in columns:
            cells = [cell for cell in self.table.cells if cell.column == column]
            values = [
                record.metrics.get(f"chance/{cell.metric}")
                for cell in cells
                for key in cell.runs
                if (record := self.records[key]) is not None
            ]
            known = [value for value in values if value is not None]
            if not known:
                return None
            levels.append(sum(known) / len(known))
        return sum(levels) / len(levels) if levels else None

    def constant(self, contrast: Mapping[str, float], columns: Mapping[str, float]) -> float | None:
        """Add up the terms of a contrast that are no rows of ours; None where one is not known."""
        total = 0.0
        for term, weight in contrast.items():
            if is_row(term):
                continue
            value = self.chance(list(columns)) if term == CHANCE else self.reported({term: 1.0}, columns)
            if value is None:
                return None
            total += weight * value
        return total

    def reported(self, contrast: Mapping[str, float], columns: Mapping[str, float]) -> float | None:
        """Compute a contrast of the paper's numbers, in a weighted mean of columns; None where it gives not all of them."""
        values_of = {line.key: line.values for line in self.paper.rows} if self.paper else {}
        total = 0.0
        for term, u in contrast.items():
            for column, v in columns.items():
                value = values_of.get(term.removeprefix(REPORTED), {}).get(column)
                if value is None:
                    return None
                total += u * v * value
        return total

    def label(self, contrast: Mapping[str, float]) -> str:
        """Put a contrast in words, for example ``MAMO − CLIP as reported``."""
        names = row_names(self.ablation) | {CHANCE: CHANCE}
        names |= {
            f"{REPORTED}{row.key}": f"{row.label} as reported"
            for row in (self.paper.rows if self.paper else ())
        }
        # Names hold commas and plus signs: where there are more than two of them, only quotes tell where one ends.
        quoted = "“{}”" if len(contrast) > 2 else "{}"
        terms = [
            f"{'−' if weight < 0 else '+'} {'' if abs(weight) == 1 else f'{abs(weight):g} '}{quoted.format(names[term])}"
            for term, weight in contrast.items()
        ]
        return " ".join(terms).removeprefix("+ ")
