"""Execute a run: from its spec and its inputs' results to its own, with the record written last."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mamo.data.store.manifest import PartAccount
from mamo.files.record import Record
from mamo.files.stored import StoredError, checksums, read_record_file, verify
from mamo.files.writing import as_new, write_text
from mamo.runs.faults import describe_fault
from mamo.runs.lock import run_lock
from mamo.runs.provenance import BEGUN, Stopwatch
from mamo.runs.run import CHECKPOINTS, Context, Options, Result, RunError, read_record, require_files
from mamo.runs.unpacked import unmark, unpacked
from mamo.specs.identity import REVISIONS, Run
from mamo.specs.plan import WORLD, Plan
from mamo.training.interruption import exit_on_signal

# A copy of the record that no workflow knows about.
KEPT = ".record.json"


def execute(
    plan: Plan,
    run: Run,
    results: Path,
    releases: Path | None = None,
    options: Options | None = None,
    wait: bool = False,
) -> Record:
    """Make or resume a run and return its record; a finished run is not made again.

    Args:
        results: the scale's results, e.g. ``results/demo``.
        releases: the folder of official releases; needed by scales whose data source is ``release``.
        options: how to execute the run, by default as :class:`Options` says.
        wait: wait for another process that makes the same run, instead of refusing.

    Raises:
        RunError: an input is missing, or (without ``wait``) another process is making the same run.
    """
    with _errors_name_run(run):
        return _execute(plan, run, results, releases, options or Options(), wait)


def complete_inputs(
    plan: Plan, run: Run, results: Path, releases: Path | None = None, options: Options | None = None
) -> None:
    """Make a run's data and starting weights again if only their records, from a pack, are there.

    Raises:
        RunError: its pre-training has no weights here, or several processes would make one thing at once.
    """
    inputs = [plan.runs[key] for key in run.inputs.values()]
    worlds = [plan.runs[one.inputs[WORLD]] for one in inputs if one.kind == "data" and WORLD in one.inputs]
    needed = dict.fromkeys(one.key for one in (*worlds, *inputs))
    # First what cannot be made again here: without it, the rest would be made in vain.
    for key in sorted(needed, key=lambda key: plan.runs[key].kind in ("data", "weights")):
        one = plan.runs[key]
        if not unpacked(one.directory(results)):
            continue
        if one.kind not in ("data", "weights") or int(os.environ.get("WORLD_SIZE", 1)) > 1:
            record = read_record(one, results)
            if record.converged or record.details.get("trained_on"):
                require_files(one, results)
            continue
        print(f"{one.key} came from a pack, without its files: making it again", file=sys.stderr, flush=True)
        _execute(plan, one, results, releases, options or Options(), wait=True, again=True)


def _execute(
    plan: Plan,
    run: Run,
    results: Path,
    releases: Path | None,
    options: Options,
    wait: bool,
    again: bool = False,
) -> Record:
    for key in run.inputs.values():
        read_record(plan.runs[key], results)
    directory = run.directory(results)
    directory.mkdir(parents=True, exist_ok=True)
    path = run.record(results)
    leader = int(os.environ.get("RANK", 0)) == 0
    if path.is_file() and not again:
        if leader:  # left by a process that was killed after writing its record
            _tidy(directory)
        return read_record(run, results)
    with run_lock(directory, wait):
        again = again and unpacked(directory)
        if path.is_file() and not again:  # finished while this process waited
            return read_record(run, results)
        if not again and _restored(run, results):
            if leader:
                _tidy(directory)
            return read_record(run, results)
        complete_inputs(plan, run, results, releases, options)
        for key in run.inputs.values():
            verify(plan.runs[key].directory(results))
        stopwatch = Stopwatch(directory)
        if leader and plan.scale.published and (stopwatch.code.changed or stopwatch.code.commit is None):
            print(
                f"warning: the code of {run.key} is {stopwatch.code}, and pages of the published scale '{plan.scale.name}' "
                "refuse runs of code that no commit holds: commit it first",
                file=sys.stderr,
            )
        from mamo.training.findings import log_warnings

        with exit_on_signal():
            result = _executor(run)(Context(plan, run, results, releases, options))
        if leader:
            as_new(directory)
        record = Record(
            run=run.id,
            kind=run.kind,
            name=run.name,
            scale=plan.scale.name,
            spec=run.spec,
            inputs=run.inputs,
            revision=REVISIONS[run.kind],
            outcome=result.outcome,
            metrics=result.metrics,
            details=result.details,
            checks=tuple(result.checks),
            files=checksums(directory),
            provenance=stopwatch.provenance(),
        )
        if leader:
            log_warnings(run.key, result.checks)
            write_text(path.with_name(KEPT), record.text())
            write_text(path, record.text())
            unmark(directory)
            # Only now: until the record is written, keep everything that a resumed run could use.
            _tidy(directory)
        return record


def _tidy(directory: Path) -> None:
    """Remove what only an unfinished run needs: its checkpoints, and the note of the code that it started with."""
    shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)
    (directory / BEGUN).unlink(missing_ok=True)


def _restored(run: Run, results: Path) -> bool:
    """Put back the record of a finished run, if that is possible; return whether it was.

    A workflow owns the record as its output and may remove it: Snakemake does so if it was killed between the writing of the
    record and its own note of it, or if another job failed. The copy saves the run from being made again.
    """
    kept = run.record(results).with_name(KEPT)
    if not kept.is_file():
        return False
    try:
        read_record_file(kept)
    except StoredError as error:
        print(f"warning: {error}", file=sys.stderr)
        return False
    text = kept.read_text(encoding="utf-8")
    if int(os.environ.get("RANK", 0)) == 0:
        write_text(run.record(results), text)
    return True


def execute_part(
    plan: Plan,
    run: Run,
    part: int,
    parts: int,
    results: Path,
    releases: Path | None = None,
    options: Options | None = None,
    wait: bool = False,
) -> PartAccount:
    """Prepare one part of a data run, counted from 0, and return its account; an existing part is not made again.

    Raises:
        RunError: the run is not cut into so many parts, an input is missing, or another process makes the same part.
    """
    from mamo.runs.make_data import make_part

    for key in run.inputs.values():
        read_record(plan.runs[key], results)
    with exit_on_signal(), _errors_name_run(run):
        return make_part(Context(plan, run, results, releases, options or Options()), part, parts, wait)


def evaluate(plan: Plan, run: Run, results: Path) -> dict[str, float]:
    """Measure the metrics of an executed downstream run again from its weights; nothing is written.

    Raises:
        RunError: the run is not done, or diverged, so that it has no weights.
    """
    record = read_record(run, results)
    if not record.converged:
        raise RunError(f"{run.key} has no weights: it ended as {record.outcome.status}")
    require_files(run, results)
    from mamo.runs.make_finetuning import evaluate_weights

    with _errors_name_run(run):
        return evaluate_weights(Context(plan, run, results, None))


@contextmanager
def _errors_name_run(run: Run) -> Iterator[None]:
    """Turn errors of the data or the machine into a RunError that names the run."""
    from mamo.data.examples import FormatError
    from mamo.data.store.prepare import MissingImages
    from mamo.data.store.records import PreparedError

    try:
        yield
    except (FormatError, MissingImages, PreparedError, StoredError) as error:
        raise RunError(f"{run.key}: {error}") from error
    except RunError:
        raise
    except Exception as error:
        cause = describe_fault(error)
        if cause is None:
            raise
        raise RunError(f"{run.key}: {cause}") from error


def _executor(run: Run) -> Callable[[Context], Result]:
    """Return the function that makes a run of this kind; imported here, so that each kind loads only what it needs."""
    if run.kind == "data":
        from mamo.runs.make_data import make_data

        return make_data
    if run.kind == "weights":
        from mamo.runs.make_weights import make_weights

        return make_weights
    if run.kind == "pretrain":
        from mamo.runs.make_pretraining import make_pretraining

        return make_pretraining
    from mamo.runs.make_finetuning import make_finetuning

    return make_finetuning
