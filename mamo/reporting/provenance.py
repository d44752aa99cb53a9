"""Trace a number back to the runs behind it, and compare two runs.

Records of earlier versions lack fields; a missing value is left out, never guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamo.files.record import Record
from mamo.files.stored import read_record_file
from mamo.specs.code import CHANGED, commit_digest, running_code
from mamo.specs.identity import SpecValues, flatten
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, TablePlan

MANIFEST = "manifest.json"
_LISTED = 5
# Facts in a record beside the spec, in the order in which they are shown; None for what it does not say.
FACTS: Mapping[str, Callable[[Record], Any]] = {
    "outcome": lambda record: record.outcome.status,
    "reason": lambda record: record.outcome.reason,
    "revision": lambda record: record.revision,
    "code": lambda record: record.provenance.code,
    "code digest": lambda record: record.provenance.code_digest,
    "earlier code": lambda record: [code.as_json() for code in record.provenance.earlier_code] or None,
    "machine": lambda record: record.provenance.machine or None,
    "packages": lambda record: record.provenance.versions or None,
    "started": lambda record: record.provenance.started,
    "wall-clock": lambda record: _with_unit(record.provenance.wall_seconds, "s"),
    "processor time": lambda record: _with_unit(record.provenance.cpu_seconds, "s"),
    "peak memory": lambda record: _with_unit(record.provenance.peak_memory_mb, "MB"),
    "steps": lambda record: record.details.get("steps"),
    "throughput": lambda record: _with_unit(record.details.get("pairs_per_second"), "pairs/s"),
}


def read_run(results: Path, key: str) -> Record | None:
    """Read a run's record by its ``kind/id``; None if it has none."""
    path = results / key / "record.json"
    return read_record_file(path) if path.is_file() else None


@dataclass(frozen=True)
class RunFacts:
    """Everything known about a planned run.

    Attributes:
        spec: resolved.
        inputs: role -> run.
        data: role -> digest of the data set's manifest, which holds a checksum of every file.
        facts: see ``FACTS``; only what the record says.
        checks: see ``check_lines``.
    """

    run: str
    kind: str
    done: bool
    seed: int | None
    spec: SpecValues
    inputs: Mapping[str, str]
    data: Mapping[str, str]
    facts: Mapping[str, Any]
    metrics: Mapping[str, float]
    checks: list[str]


@dataclass(frozen=True)
class NumberFacts:
    """One number of a table's row, and the runs behind it."""

    column: str
    label: str
    metric: str
    seed: int
    value: float | None
    run: str
    pretraining: str


@dataclass(frozen=True)
class RowFacts:
    """The runs behind each number of a table's row.

    Attributes:
        runs: run -> what is known of it, the pre-trainings first.
    """

    table: str
    row: str
    label: str
    numbers: list[NumberFacts]
    runs: dict[str, RunFacts]


def provenance(plan: Plan, key: str, results: Path) -> RunFacts:
    """Collect everything known about a planned run."""
    run, record = plan.runs[key], read_run(results, key)
    inputs = dict(record.inputs if record and record.inputs else run.inputs)
    return RunFacts(
        run=key,
        kind=run.kind,
        done=record is not None,
        seed=run.spec.get("seed"),
        spec=dict(record.spec if record and record.spec else run.spec),
        inputs=inputs,
        data=_data(inputs, results),
        facts={name: v for name, v in facts(record).items() if v not in (None, "")} if record else {},
        metrics=dict(record.metrics) if record else {},
        checks=check_lines(record) if record else [],
    )


def row_provenance(plan: Plan, table: TablePlan, row: str, results: Path) -> RowFacts:
    """Collect the runs behind each number of a table's row.

    Raises:
        SpecError: the table has no such row.
    """
    ablation = table.ablation
    labels = {r.key: r.label for r in ablation.rows}
    if row not in labels:
        raise SpecError(f"{ablation.name} has no row '{row}' ({', '.join(labels) or 'no rows at all'})")
    columns = {column.key: f"{column.group} {column.label}".strip() for column in ablation.columns}
    runs = {key: provenance(plan, key, results) for key in table.pretrainings[row]}
    numbers = []
    for cell in (cell for cell in table.cells if cell.row == row):
        for seed, key in enumerate(cell.runs):
            runs.setdefault(key, provenance(plan, key, results))
            numbers.append(
                NumberFacts(
                    column=cell.column,
                    label=columns[cell.column],
                    metric=cell.metric,
                    seed=seed,
                    value=runs[key].metrics.get(cell.metric),
                    run=key,
                    pretraining=table.pretrainings[row][seed],
                )
            )
    return RowFacts(ablation.name, row, labels[row], numbers, runs)


def row_lines(facts: RowFacts) -> Iterator[str]:
    """Yield ``row_provenance`` as text."""
    yield f"{facts.table}, row {facts.row}: {facts.label}"
    for number in facts.numbers:
        value = "no value" if number.value is None else f"{number.value:.4g}"
        yield f"  {number.label} ({number.metric}), seed {number.seed}: {value}"
        yield f"    {number.run} from {number.pretraining}"
    for run in facts.runs.values():
        yield ""
        yield from provenance_lines(run)


def provenance_lines(run: RunFacts) -> Iterator[str]:
    """Yield ``provenance`` as text."""
    yield run.run + ("" if run.done else ": no record yet")
    for name, value in run.facts.items():
        yield f"  {name}: {_words(value)}"
    for line in run.checks:
        yield f"  {line}"
    for role, key in run.inputs.items():
        content = run.data.get(role)
        yield f"  input {role}: {key}" + (f", content {content}" if content else "")
    for dotted, value in flatten(run.spec).items():
        yield f"  spec {dotted}: {json.dumps(value, ensure_ascii=False)}"


def check_code(plan: Plan, keys: Iterable[str], results: Path, any_code: bool = False) -> None:
    """Refuse to publish results, at a published scale, of code that the repository cannot name.

    Args:
        keys: the runs that a page reads; their inputs are checked too.
        any_code: publish anyway.

    Raises:
        SpecError: naming the runs, what is wrong with their code, and what to do.
    """
    if not plan.scale.published or any_code:
        return
    now = running_code()
    lines = [f"this page itself: by {now}"] if now.changed or now.commit is None else []
    for key in sorted(plan.closure(keys)):
        record = read_run(results, key)
        problem = unnamed_code(record) if record else None
        if problem:
            lines.append(f"{key}: {problem}")
    if lines:
        more = f"\n  and {len(lines) - _LISTED} more" if len(lines) > _LISTED else ""
        raise SpecError(
            f"scale '{plan.scale.name}' is published, and the repository cannot name the code of what it would show:\n  "
            + "\n  ".join(lines[:_LISTED])
            + f"{more}\nCommit the code and make these runs again (delete their folders in {results}), or publish the pages as "
            "they are by --any-code, or any_code: true in params.yaml"
        )


def unnamed_code(record: Record) -> str | None:
    """Explain why the repository cannot name the code of a run; None if it can: a commit holds exactly what ran.

    Code committed unchanged after the run also counts, if it is that of the current commit.
    """
    for version in record.provenance.all_code:
        name, digest = version.code, version.code_digest
        if digest and not version.code_edited and digest == commit_digest("HEAD"):
            continue
        if not name:
            return "its code was in no repository"
        if name.endswith(CHANGED):
            edited = "was edited while it was made" if version.code_edited else "differed from the commit"
            return f"its code, {name}, {edited}"
        held = commit_digest(name)
        if held is None:
            return f"commit {name} is not in this repository (of a shallow clone, fetch the rest)"
        if digest and digest != held:
            return f"its code, {digest}, is not that of commit {name}, {held}"
    return None


def check_lines(record: Record) -> list[str]:
    """List what the run's own checks found, a line for each; one line if the record is older than the checks."""
    if record.checks is None:
        return ["checks: none recorded; the run is older than they are"]
    return [check.line for check in record.checks]


def facts(record: Record) -> dict[str, Any]:
    """Return a record's facts about its run beside the spec, with units; None for missing ones."""
    return {name: read(record) for name, read in FACTS.items()}


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value} {unit}"


def run_differences(results: Path, one: str, other: str) -> Iterator[str]:
    """Describe how two recorded runs differ: spec, inputs, circumstances and metrics.

    Args:
        one, other: ``kind/id``.
    """
    first, second = (read_record_file(results / key / "record.json") for key in (one, other))
    yield f"- {one}"
    yield f"+ {other}"
    parts = [
        ("spec", flatten(first.spec), flatten(second.spec)),
        ("inputs", first.inputs, second.inputs),
        ("data", _data(first.inputs, results), _data(second.inputs, results)),
        ("circumstances", flatten(facts(first)), flatten(facts(second))),
    ]
    alike = True
    for title, ours, theirs in parts:
        changed = [key for key in dict.fromkeys([*ours, *theirs]) if ours.get(key) != theirs.get(key)]
        alike = alike and not changed
        if changed:
            yield f"\n{title}"
        for key in changed:
            yield f"  {key}: {_words(ours.get(key))} -> {_words(theirs.get(key))}"
    numbers = list(_metrics(first.metrics, second.metrics))
    if numbers:
        yield "\nmetrics"
        yield from numbers
    if alike and not numbers:
        yield "\nnothing differs"


def _metrics(ours: Mapping[str, float], theirs: Mapping[str, float]) -> Iterator[str]:
    for name in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(name), theirs.get(name)
        if a == b:
            continue
        gap = f" ({b - a:+.4g})" if a is not None and b is not None else ""
        shown = ["-" if value is None else f"{value:.4g}" for value in (a, b)]
        yield f"  {name}: {shown[0]} -> {shown[1]}{gap}"


def _data(inputs: Mapping[str, str], results: Path) -> dict[str, str]:
    """Map role of each data set among the inputs -> digest of its manifest, if it still exists."""
    digests = {}
    for role, key in inputs.items():
        path = results / key / MANIFEST
        if path.is_file():
            digests[role] = hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    return digests


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return (
        "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
