"""The record of a finished run, ``record.json``: its spec, outcome, metrics and provenance.

Records of earlier versions lack fields: what a record does not say has its default here, and ``model_fields_set`` tells
which fields it says.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

Status = Literal["converged", "diverged", "skipped"]
STATUSES: tuple[Status, ...] = get_args(Status)
# Whole numbers stay whole: a count of 1234 is not 1234.0.
Number = int | float


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: ``converged``; ``diverged``, a result that tables show as x; or ``skipped``, since its pre-training diverged.
        reason: why it diverged or was skipped, in words.
    """

    status: Status
    reason: str | None = ""


class Stored(BaseModel):
    """A part of a stored file: frozen, and written with the fields that it was given, in the order of their definition."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    def as_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return self.model_dump(exclude_unset=True, by_alias=True)


class Check(Stored):
    """Result of one of a run's own checks.

    Attributes:
        passed: False is a warning, wherever the run is shown.
        says: the result in words.
        numbers: what it rests on.
    """

    name: str = Field(alias="check")
    passed: bool
    says: str
    numbers: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def line(self) -> str:
        """Format the check, for example ``check gradients: passed: each of 12 trained tensors has a gradient``."""
        return f"check {self.name}: {'passed' if self.passed else 'WARNING'}: {self.says}"


class CodeVersion(Stored):
    """The code that made a run.

    Attributes:
        code: the commit, with ``+changes`` where the package differed from it; None outside of a repository.
        code_digest: of all files of the package.
        code_edited: the package was edited while the run was made.
    """

    code: str | None = None
    code_digest: str | None = None
    code_edited: bool = False


class Provenance(Stored):
    """The time, machine and code of a run.

    Attributes:
        started: in ISO 8601, UTC.
        machine: ``cpu``, ``cores``, ``system`` and, where torch saw one, ``gpu``.
        versions: of Python and of the packages that make the numbers.
        code, code_digest, code_edited: see :class:`CodeVersion`.
        earlier_code: other code that started the run.
    """

    started: str | None = None
    wall_seconds: Number | None = None
    cpu_seconds: Number | None = None
    peak_memory_mb: Number | None = None
    machine: Mapping[str, str | int | None] = Field(default_factory=dict)
    versions: Mapping[str, str] = Field(default_factory=dict)
    code: str | None = None
    code_digest: str | None = None
    code_edited: bool = False
    earlier_code: tuple[CodeVersion, ...] = ()

    @property
    def all_code(self) -> tuple[CodeVersion, ...]:
        """The code that finished the run, then any other that started it."""
        own = CodeVersion(code=self.code, code_digest=self.code_digest, code_edited=self.code_edited)
        return (own, *self.earlier_code)


class Record(Stored):
    """A finished run.

    Attributes:
        run: its identity, ``NAME-DIGEST``.
        kind: ``data``, ``weights``, ``pretrain`` or ``finetune``.
        spec: resolved, as plain JSON values.
        inputs: role -> the input run's ``kind/id``.
        revision: of the method that the kind executes.
        details: numbers that are no metrics, such as ``steps`` and ``pairs_per_second``.
        checks: None in records that are older than the checks.
        files: file of the run's directory -> its checksum.
    """

    run: str = ""
    kind: str = ""
    name: str = ""
    scale: str = ""
    spec: Mapping[str, Any] = Field(default_factory=dict)
    inputs: Mapping[str, str] = Field(default_factory=dict)
    revision: int | None = None
    outcome: Outcome
    metrics: Mapping[str, Number] = Field(default_factory=dict)
    details: Mapping[str, Any] = Field(default_factory=dict)
    checks: tuple[Check, ...] | None = None
    files: Mapping[str, str] = Field(default_factory=dict)
    provenance: Provenance = Field(default_factory=Provenance)

    @property
    def key(self) -> str:
        """``kind/id``."""
        return f"{self.kind}/{self.run}"

    @property
    def converged(self) -> bool:
        """True if the run has a result: it neither diverged nor was skipped."""
        return self.outcome.status == "converged"

    @property
    def warnings(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks or () if not check.passed)

    def text(self) -> str:
        """Return the content of ``record.json``."""
        return json.dumps(self.as_json(), indent=1) + "\n"
