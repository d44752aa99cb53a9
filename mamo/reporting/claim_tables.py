"""What the claims need to know of one table: its results, outcomes, chance levels and the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from mamo.reporting.collect import read_records
from mamo.reporting.comparisons import make_grid
from mamo.reporting.paper import PaperTable, load_paper
from mamo.specs.claims import Test, rows_of
from mamo.specs.plan import Plan, TablePlan


class TableResults:
    """What the claims need to know of one table."""

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

    def columns(self, test: Test) -> list[str]:
        """The columns of a test: those that all its rows show."""
        rows = rows_of(test)
        shown = {(cell.row, cell.column) for cell in self.table.cells}
        return [
            column.key
            for column in self.ablation.columns
            if (test.columns is None or column.key in test.columns)
            and all((r, column.key) in shown for r in rows)
        ]

    def outcomes(self, row: str) -> list[str]:
        """How the pre-trainings of a row ended."""
        records = [self.records[key] for key in self.table.pretrainings[row]]
        return ["missing" if record is None else record.outcome.status for record in records]

    def chance(self, columns: Sequence[str]) -> float | None:
        """The mean of the columns' chance levels; None where one is not known."""
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

    def reported(self, rows: Mapping[str, float], columns: Mapping[str, float]) -> float | None:
        """The same weighted sum of the paper's numbers; None where it gives not all of them."""
        of = {line.key: line.values for line in self.paper.rows} if self.paper else {}
        total = 0.0
        for row, u in rows.items():
            for column, v in columns.items():
                value = of.get(row, {}).get(column)
                if value is None:
                    return None
                total += u * v * value
        return total
