"""Readings: open points of the paper as settings, and the questions asked under each of them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec, check_names
from mamo.specs.claims import ClaimTest

BETWEEN = "__"  # of a model's key and a reading's, in the key of their row


class ReadingSpec(Spec):
    """One way to settle the open points of the paper."""

    key: str = Field(description="the row of a model under it is called MODEL__KEY")
    label: str
    set: dict[str, Any] = Field(
        default_factory=dict,
        description="dotted overrides of the pre-training spec for every model; a model's own are laid over them",
    )
    models: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="model -> overrides for it alone, laid over its own"
    )
    choices: dict[str, str] = Field(
        default_factory=dict,
        description="open point -> what is chosen, the lines of the grid below the curve; none: a line for each reading",
    )


class ContrastSpec(Spec):
    """A question that is asked under each reading: of a difference, or of how trainings end."""

    key: str
    label: str
    claim: str | None = Field(None, description="a claim of claims.yaml that it belongs to")
    minus: tuple[str, str] | None = Field(
        None, description="two models; supported where the first lies above the second"
    )
    columns: tuple[str, ...] | None = Field(None, description="whose mean is compared; null: all of them")
    ends: tuple[str, Literal["converged", "diverged"]] | None = Field(
        None, description="a model, and how its trainings end where this is supported"
    )

    @model_validator(mode="after")
    def _one_question(self) -> ContrastSpec:
        if (self.minus is None) == (self.ends is None):
            raise ValueError(f"contrast '{self.key}': give one of minus and ends")
        return self

    @property
    def models(self) -> tuple[str, ...]:
        """The models that it compares."""
        return self.minus if self.minus is not None else self.ends[:1] if self.ends is not None else ()

    def test(self, table: str, reading: str) -> ClaimTest:
        """Return the question under one reading as a test of claims."""
        rows = [row_of(model, reading) for model in self.models]
        if self.ends is not None:
            return ClaimTest(table=table, ends=(rows[0], self.ends[1]))
        contrast = {rows[0]: 1.0, rows[1]: -1.0}
        return ClaimTest(table=table, contrast=(contrast,), columns=self.columns)


def row_of(model: str, reading: str) -> str:
    """Return the key of a model's row under a reading."""
    return f"{model}{BETWEEN}{reading}"


def check_readings(
    models: tuple[str, ...],
    readings: tuple[ReadingSpec, ...],
    contrasts: tuple[ContrastSpec, ...],
    columns: set[str],
) -> None:
    """Check that keys are valid in rows, unique, and refer to existing things.

    Raises:
        ValueError: with the key.
    """
    for what, keys in (
        ("model", list(models)),
        ("reading", [reading.key for reading in readings]),
        ("contrast", [contrast.key for contrast in contrasts]),
    ):
        check_names(keys, what)
        wrong = [key for key in keys if keys.count(key) > 1 or BETWEEN in key]
        if wrong:
            raise ValueError(f"{what} key '{wrong[0]}' is given twice or holds '{BETWEEN}'")
    named = [(f"reading '{reading.key}'", key) for reading in readings for key in reading.models]
    named += [(f"contrast '{contrast.key}'", key) for contrast in contrasts for key in contrast.models]
    for where, key in named:
        if key not in models:
            raise ValueError(f"{where}: there is no model '{key}' ({', '.join(models)})")
    for contrast in contrasts:
        unknown = set(contrast.columns or ()) - columns
        if unknown:
            raise ValueError(f"contrast '{contrast.key}': there is no column '{min(unknown)}'")
