"""The claims ledger as data: what the paper says that results can support or refute, and the contrast that decides it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.overrides import build, load_yaml

FILE = "paper/arxiv/claims.yaml"  # sections and tables are numbered as in this edition
# Terms of a contrast that are no rows of our table.
CHANCE = "chance"
REPORTED = "reported/"  # before a row of the paper's table


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, Mapping) else value


class ClaimTest(Spec):
    """A contrast of rows with a bound, or how the pre-trainings of a row end.

    A contrast is a weighted sum of a table's rows, in percentage points: ``{full: 1, itc_itm: -1}`` is a difference. Its terms
    are rows, the level of chance (``chance``) and rows that the paper quotes from other work (``reported/clip``).
    """

    table: str = Field(description="an ablation file")
    columns: tuple[str, ...] | None = Field(None, description="columns of the table; null: all of them")
    contrast: Annotated[tuple[dict[str, float], ...], BeforeValidator(_as_tuple)] = Field(
        (), description="term -> weight; or a list of these, all of which the claim is about"
    )
    rises: tuple[str, ...] = Field(
        (), description="instead: a figure's rows; their slope over x is the contrast"
    )
    falls: tuple[str, ...] = Field(
        (), description="instead: a figure's rows; less their slope is the contrast"
    )
    ends: tuple[str, Literal["converged", "diverged"]] | None = Field(
        None, description="instead: a row, and how its pre-trainings end"
    )
    each: bool = Field(False, description="in every column by itself, not in their mean")
    above: float = Field(0.0, description="what the contrast lies above, in percentage points")
    within: float | None = Field(None, gt=0, description="instead: it is this close to 0, on whichever side")

    @model_validator(mode="after")
    def _is_one_contrast(self) -> ClaimTest:
        if sum(map(bool, (self.contrast, self.rises, self.falls, self.ends))) != 1:
            raise ValueError("give one of contrast, rises, falls and ends")
        if 0 < len(self.rises or self.falls) < 3:
            raise ValueError("a slope takes three rows or more")
        for contrast in self.contrast:
            of_rows = [weight for term, weight in contrast.items() if is_row(term)]
            if not of_rows:
                raise ValueError("a contrast needs a row")
            if abs(sum(contrast.values())) > 1e-9 or len(of_rows) > 1 and abs(sum(of_rows)) > 1e-9:
                raise ValueError("the weights of a contrast sum to 0, and so do those of several rows")
        return self

    @property
    def terms(self) -> tuple[str, ...]:
        """Everything that the test looks at, each once."""
        named = (term for contrast in self.contrast for term in contrast)
        return tuple(dict.fromkeys([*named, *self.rises, *self.falls, *(self.ends or ())[:1]]))

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of our table among the terms."""
        return tuple(filter(is_row, self.terms))


def is_row(term: str) -> bool:
    """Check that a term of a contrast is a row of our table."""
    return term != CHANCE and not term.startswith(REPORTED)


class ClaimSpec(Spec):
    """One claim."""

    key: str
    claim: str = Field(description="what the paper says, in our words")
    place: str = Field(description="where it says so")
    test: ClaimTest
    elsewhere: tuple[ClaimTest, ...] = Field(
        (), exclude=True, description="tests on other data, for scales that do not make the test's table"
    )
    note: str | None = Field(None, description="how the test falls short of the sentence")

    def tested_in(self, tables: Collection[str]) -> ClaimSpec:
        """Return the claim with the first of its tests whose table is among these; itself if there is none."""
        for test in (self.test, *self.elsewhere):
            if test.table in tables:
                return self.model_copy(update={"test": test})
        return self


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


def read_claims(ablations: Path, tables: Collection[str] = ()) -> tuple[ClaimSpec, ...]:
    """Read the claims of ``ablations/paper/arxiv/claims.yaml``; none if there is no such file.

    Args:
        tables: those that a scale makes, in which its claims are tested.

    Raises:
        SpecError: a wrong entry, with file, key and nearest valid name.
    """
    path = ablations / FILE
    if not path.exists():
        return ()
    claims: Claims = build(Claims, load_yaml(path), str(path))
    return tuple(claim.tested_in(tables) for claim in claims.claims)
