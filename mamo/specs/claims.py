"""The claims ledger as data: statements of the paper that results can support or refute, and their tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.overrides import build, load_yaml

FILE = "paper/arxiv/claims.yaml"  # sections and tables are numbered as in this edition


class TestSpec(Spec):
    """Shared by all tests: a table, and the columns whose mean is tested."""

    __test__ = False  # not a test of this project's suite

    table: str = Field(description="an ablation file")
    columns: tuple[str, ...] | None = Field(None, description="columns of the table; null: all of them")


class GreaterTest(TestSpec):
    """A row is above another one."""

    kind: Literal["greater"] = "greater"
    row: str
    than: str
    each: bool = Field(False, description="in every column by itself, not in their mean")


class BestTest(TestSpec):
    """A row is above every other one."""

    kind: Literal["best"] = "best"
    row: str
    of: tuple[str, ...] | None = Field(None, description="the rows that are compared; null: all of the table")


class GainTest(TestSpec):
    """A step between two rows gains more than a step between two others."""

    kind: Literal["gain"] = "gain"
    step: tuple[str, str] = Field(description="from, to")
    beyond: tuple[str, str] = Field(description="from, to")


class CloseTest(TestSpec):
    """Rows are near another one, on either side."""

    kind: Literal["close"] = "close"
    rows: tuple[str, ...] = Field(min_length=1)
    to: str
    within: float = Field(gt=0, description="percentage points that count as close")


class TrendTest(TestSpec):
    """A figure's curve rises or falls with its x: the slope of a straight line through its rows."""

    kind: Literal["trend"] = "trend"
    rows: tuple[str, ...] = Field(min_length=2)
    direction: Literal["rises", "falls"]


class OutcomeTest(TestSpec):
    """The pre-trainings of a row end in a certain way."""

    kind: Literal["outcome"] = "outcome"
    row: str
    status: Literal["converged", "diverged"]


class ChanceTest(TestSpec):
    """A row is above chance."""

    kind: Literal["above_chance"] = "above_chance"
    row: str


class ReportedTest(TestSpec):
    """A row is above a model of other work, by the numbers that the paper quotes for it."""

    kind: Literal["above_reported"] = "above_reported"
    row: str
    reported: str = Field(description="a row of the paper's table")
    margin: float = Field(0.0, description="percentage points above it; negative: at most so far below")


Test = Annotated[
    GreaterTest | BestTest | GainTest | CloseTest | TrendTest | OutcomeTest | ChanceTest | ReportedTest,
    Field(discriminator="kind"),
]


class ClaimSpec(Spec):
    """One claim."""

    key: str
    claim: str = Field(description="what the paper says, in our words")
    place: str = Field(description="where it says so")
    test: Test
    note: str | None = Field(None, description="how the test falls short of the sentence")


class Claims(Spec):
    """The content of ``ablations/paper/arxiv/claims.yaml``."""

    claims: tuple[ClaimSpec, ...]

    @model_validator(mode="after")
    def _keys_differ(self) -> Claims:
        keys = [claim.key for claim in self.claims]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"claim key given twice: {', '.join(twice)}")
        return self


def read_claims(ablations: Path) -> tuple[ClaimSpec, ...]:
    """The claims of ``ablations/paper/arxiv/claims.yaml``; none if there is no such file.

    Raises:
        SpecError: a wrong entry, with file, key and nearest valid name.
    """
    path = ablations / FILE
    if not path.exists():
        return ()
    claims: Claims = build(Claims, load_yaml(path), str(path))
    return claims.claims


def rows_of(test: Test) -> tuple[str, ...]:
    """Return the rows that a test names."""
    if isinstance(test, GreaterTest):
        return test.row, test.than
    if isinstance(test, BestTest):
        return test.row, *(test.of or ())
    if isinstance(test, GainTest):
        return *test.step, *test.beyond
    if isinstance(test, CloseTest):
        return *test.rows, test.to
    if isinstance(test, TrendTest):
        return test.rows
    return (test.row,)
