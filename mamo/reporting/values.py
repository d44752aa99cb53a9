"""The values of one table, as its file holds them, with lookup by row and column."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from statistics import fmean
from typing import Any, Literal

from pydantic import Field

from mamo.files.record import Number, Status, Stored

Ended = Literal[Status, "missing"]


class SeedValue(Stored):
    """One seed's value of a cell: a line of ``results.csv``.

    Attributes:
        value, chance: None where the run has no record or did not converge.
        run: ``kind/id``.
    """

    table: str
    row: str
    column: str
    metric: str
    seed: int
    value: Number | None
    chance: Number | None
    run: str
    outcome: Ended


class CellStatistics(Stored):
    """A cell over its seeds, with 95 % intervals, and its paired difference from the base row; a line of ``statistics.csv``.

    Attributes:
        mean_noise, difference_noise: standard deviation of one seed's value.
        images: test images that were resampled; 0 where none were.
        against: the base row; None where nothing could be compared, and then the differences are None.
    """

    row: str
    column: str
    mean: float
    mean_lower: float
    mean_upper: float
    mean_noise: float | None = None
    seeds: int
    images: int
    against: str | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None
    difference_noise: float | None = None
    difference_p: float | None = None
    difference_seeds: int | None = None

    @property
    def half(self) -> float:
        """Half of the mean's interval; 0 where nothing was resampled."""
        return (self.mean_upper - self.mean_lower) / 2

    @property
    def gap(self) -> Difference | None:
        """The difference from the base row; None where nothing could be compared."""
        if self.against is None:
            return None
        numbers = (self.difference, self.difference_lower, self.difference_upper, self.difference_p)
        value, lower, upper, p = numbers
        assert value is not None and lower is not None and upper is not None and p is not None
        return Difference(against=self.against, value=value, lower=lower, upper=upper, p=p)


class Difference(Stored):
    """A paired difference from the base row, in percentage points, with its 95 % interval."""

    against: str
    value: float
    lower: float
    upper: float
    p: float

    @property
    def half(self) -> float:
        """Half of the interval."""
        return (self.upper - self.lower) / 2

    @property
    def holds_zero(self) -> bool:
        """True if the interval contains 0, so that the two rows cannot be told apart."""
        return self.lower <= 0 <= self.upper


class Agreement(Stored):
    """Kendall's tau-b between our order of rows and the paper's, with its 95 % interval.

    Attributes:
        column: None for the mean over all columns.
        rows: how many rows both have.
        tau, lower, upper, seeds: None where there are too few rows to compare.
    """

    column: str | None
    rows: int
    tau: float | None
    lower: float | None
    upper: float | None
    seeds: int | None


class ReadingAnswer(Stored):
    """The answer to a question under all readings that come to the same trainings.

    Attributes:
        value, lower, upper: in percentage points; None where there is no number.
    """

    keys: tuple[str, ...]
    labels: tuple[str, ...]
    answer: str
    why: str
    value: float | None
    lower: float | None
    upper: float | None
    seeds: int | None


class CurveQuestion(Stored):
    """A question of a specification curve.

    Attributes:
        claim: the claim that it belongs to, if there is one.
        difference: whether it is about a difference, with numbers.
        counts: answer -> distinct readings.
    """

    key: str
    label: str
    claim: str | None
    difference: bool
    counts: Mapping[str, int]
    readings: tuple[ReadingAnswer, ...]


class Ending(Stored):
    """The end of a row's pre-training."""

    run: str
    outcome: Ended
    reason: str | None


class MissedCheck(Stored):
    """One of the runs' own checks that a row misses.

    Attributes:
        check: its name, such as ``re-ranking``.
        missed, runs: how many of the row's runs with this check miss it, and how many have it.
    """

    row: str
    check: str
    missed: int
    runs: int


class TableValues(Stored):
    """All values of one table.

    Attributes:
        table: its name.
        cells: a value per cell and seed.
        statistics: intervals and comparisons, a line per cell.
        agreement: with the paper's order of rows.
        curve: for readings alone.
        lengths: sentences on how long the rows were pre-trained.
        pretrainings: row -> how its pre-trainings ended, one per seed.
        missed: checks that runs of the rows miss.
        missing: keys of runs without a record.
        made_from: what the plan made the table from, in a file that a workflow keeps.
    """

    table: str
    scale: str = ""
    cells: tuple[SeedValue, ...] = ()
    statistics: tuple[CellStatistics, ...] = ()
    agreement: tuple[Agreement, ...] = ()
    curve: tuple[CurveQuestion, ...] = ()
    lengths: tuple[str, ...] = ()
    pretrainings: Mapping[str, tuple[Ending, ...]] = Field(default_factory=dict)
    missed: tuple[MissedCheck, ...] = ()
    missing: tuple[str, ...] = ()
    made_from: Mapping[str, Any] = Field(default_factory=dict)

    @cached_property
    def by_cell(self) -> dict[tuple[str, str], list[SeedValue]]:
        """(row, column) -> the values of its seeds."""
        cells: dict[tuple[str, str], list[SeedValue]] = {}
        for value in self.cells:
            cells.setdefault((value.row, value.column), []).append(value)
        return cells

    @cached_property
    def statistics_by_cell(self) -> dict[tuple[str, str], CellStatistics]:
        """(row, column) -> its interval and comparison."""
        return {(line.row, line.column): line for line in self.statistics}

    def at(self, row: str, column: str) -> list[SeedValue]:
        """Return the values of a cell's seeds; empty if the table has no such cell."""
        return self.by_cell.get((row, column), [])

    def statistics_at(self, row: str, column: str) -> CellStatistics | None:
        """Return a cell's interval and comparison; None if no seed has a value."""
        return self.statistics_by_cell.get((row, column))

    def trained_on(self, row: str) -> int:
        """Count a row's seeds whose pre-training diverged and was trained on, so that its jobs have results all the same."""
        ended = self.pretrainings.get(row, ())
        valued = {value.seed for value in self.cells if value.row == row and value.value is not None}
        return sum(ending.outcome == "diverged" and seed in valued for seed, ending in enumerate(ended))

    @property
    def compared(self) -> list[CellStatistics]:
        """The cells that could be compared to the base row's."""
        return [line for line in self.statistics if line.against is not None]


def mean_of(values: list[SeedValue]) -> Number | None:
    """Compute the mean over the seeds that have a value; None if none has. A single value stays as it is, whole numbers too."""
    known = [value.value for value in values if value.value is not None]
    return known[0] if len(known) == 1 else fmean(known) if known else None


def best_rows(values: TableValues) -> dict[str, set[str]]:
    """Map column -> the rows with the highest mean, unless all are equal; counts have no best."""
    means: dict[str, dict[str, float]] = {}
    for (row, column), seeds in values.by_cell.items():
        mean = mean_of(seeds)
        if isinstance(mean, float):
            means.setdefault(column, {})[row] = mean
    return {
        column: {row for row, mean in of.items() if mean == max(of.values())}
        for column, of in means.items()
        if len(set(of.values())) > 1
    }


def chance_of(values: list[SeedValue]) -> float | None:
    """Compute the mean chance level over some values; None if none was recorded."""
    known = [value.chance for value in values if value.chance is not None]
    return fmean(known) if known else None
