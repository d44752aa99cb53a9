"""Shared by the executors of all kinds: a run's context, its result, its record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamo.files.record import Check, Outcome, Record
from mamo.files.stored import StoredError, read_record_file
from mamo.runs.unpacked import unpacked
from mamo.specs.identity import Run
from mamo.specs.plan import WORLD, Plan

CHECKPOINTS = "checkpoints"


class RunError(RuntimeError):
    """A run cannot be executed; the message names it and says what to do."""


@dataclass(frozen=True)
class Options:
    """Options of execution. None of them changes what a run computes, so none is part of a spec.

    Attributes:
        threads: number of threads that decode images while data are prepared.
        micro_batch: pairs of a rank's share that go through the network at once; None: all. The gradient is that of the
            whole batch, ITC's contrast over all ranks' pairs included.
        compile: compile the transformer layers (``torch.compile``).
        activation_checkpointing: keep no activations inside the transformer layers; recomputing them in the backward pass
            costs a third more time and saves most of the memory.
    """

    threads: int = 1
    micro_batch: int | None = None
    compile: bool = False
    activation_checkpointing: bool = False

    def of_training(self) -> dict[str, Any]:
        """Return the options as keywords of the training loop's ``LoopConfig``."""
        return {
            "micro_batch": self.micro_batch,
            "compiled": self.compile,
            "activation_checkpointing": self.activation_checkpointing,
        }


@dataclass(frozen=True)
class Context:
    """Everything that an executor works with.

    Attributes:
        results: the scale's results.
        releases: the folder of official releases, for scales that read them.
        options: how to execute the run.
    """

    plan: Plan
    run: Run
    results: Path
    releases: Path | None
    options: Options = Options()

    @property
    def directory(self) -> Path:
        """The run's own directory."""
        return self.run.directory(self.results)

    @property
    def checkpoints(self) -> Path:
        """Folder of a training run's checkpoints, until its record is written."""
        return self.directory / CHECKPOINTS

    def input(self, role: str) -> Path:
        """Return the directory of the input run of a role.

        Raises:
            RunError: it was taken from a pack, without its files.
        """
        run = self.plan.runs[self.run.inputs[role]]
        require_files(run, self.results)
        return run.directory(self.results)

    def world(self, key: str) -> Path | None:
        """Return the ``release`` folder of the world that a data run was prepared from; None for official releases."""
        world = self.plan.runs[key].inputs.get(WORLD)
        if world is None:
            return None
        require_files(self.plan.runs[world], self.results)
        return self.plan.runs[world].directory(self.results) / "release"

    def record(self, role: str) -> Record:
        """Return the record of the input run of a role."""
        return read_record(self.plan.runs[self.run.inputs[role]], self.results)


@dataclass(frozen=True)
class Result:
    """Result that an executor returns for the record.

    Attributes:
        checks: see :mod:`mamo.training.checks`; none for runs that neither train nor measure.
    """

    outcome: Outcome
    metrics: dict[str, float]
    details: dict[str, Any]
    checks: list[Check] = field(default_factory=list)


def read_record(run: Run, results: Path) -> Record:
    """Read a finished run's record.

    Raises:
        RunError: the run is not done.
    """
    path = run.record(results)
    if not path.is_file():
        command = "prepare" if run.kind == "data" else run.kind
        raise RunError(
            f"{path} is missing: first run `mamo {command} --scale {results.name} --needs {run.id}`"
        )
    try:
        return read_record_file(path)
    except StoredError as error:
        raise RunError(f"{path} is damaged ({error})") from error


def require_files(run: Run, results: Path) -> None:
    """Refuse to read weights or data that were not in the pack.

    Raises:
        RunError: the run was taken from a pack.
    """
    if unpacked(run.directory(results)):
        fix = (
            "call a run that needs it, which makes it again"
            if run.kind in ("data", "weights")
            else f"to make it again: `mamo results forget {run.id} --scale {results.name}`, then `mamo {run.kind} {run.id} "
            f"--scale {results.name} --needs`"
        )
        raise RunError(f"{run.key} was taken from a pack: its record is here, its files are not; {fix}")


def require(plan: Plan, keys: Iterable[str], results: Path, name: str) -> None:
    """Check that the runs needed by a figure or page are done.

    Args:
        name: name of the figure or page for ``mamo reproduce``.

    Raises:
        RunError: some are not made yet; the message has the command that makes them, how many there are, and what they cost.
    """
    lacking = [plan.runs[key] for key in plan.runs if key in plan.closure(keys)]
    lacking = [run for run in lacking if not run.record(results).is_file()]
    if lacking:
        from mamo.cost.work import describe_work

        raise RunError(
            f"{name} is not made yet at scale '{plan.scale.name}': runs that it needs have no record in {results}, "
            f"the last of them {lacking[-1].key}. `mamo reproduce {name} --scale {plan.scale.name}` "
            f"makes them: {describe_work(plan, lacking, results)}"
        )
