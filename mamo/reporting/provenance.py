"""Trace a number back to the runs behind it, and compare two runs.

Records of earlier versions lack fields; a missing value is left out, never guessed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mamo.files.stored import read_record_file
from mamo.specs.code import CHANGED, commit_digest, running_code
from mamo.specs.identity import flatten
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, TablePlan

MANIFEST = "manifest.json"
_LISTED = 5
# Facts in a record beside the spec, in the order in which they are shown: name, path into the record, unit.
FACTS = (
    ("outcome", ("outcome", "status"), ""),
    ("reason", ("outcome", "reason"), ""),
    ("revision", ("revision",), ""),
    ("code", ("provenance", "code"), ""),
    ("code digest", ("provenance", "code_digest"), ""),
    ("earlier code", ("provenance", "earlier_code"), ""),
    ("machine", ("provenance", "machine"), ""),
    ("packages", ("provenance", "versions"), ""),
    ("started", ("provenance", "started"), ""),
    ("wall-clock", ("provenance", "wall_seconds"), "s"),
    ("processor time", ("provenance", "cpu_seconds"), "s"),
    ("peak memory", ("provenance", "peak_memory_mb"), "MB"),
    ("steps", ("details", "steps"), ""),
    ("throughput", ("details", "pairs_per_second"), "pairs/s"),
)


def read_run(results: Path, key: str) -> dict[str, Any] | None:
    """Read a run's record by its ``kind/id``; None if it has none."""
    path = results / key / "record.json"
    if not path.is_file():
        return None
    record = read_record_file(path)
    return record


def provenance(plan: Plan, key: str, results: Path) -> dict[str, Any]:
    """Collect everything known about a planned run as plain JSON values.

    Returns:
        ``run``, ``kind``, ``done``, ``seed``, ``spec`` (resolved), ``inputs`` (role -> run), ``data`` (role -> digest of the
        data set's manifest, which holds a checksum of every file), ``facts`` (see ``FACTS``; only what the record says),
        ``metrics`` and ``checks`` (see ``check_lines``).
    """
    run, record = plan.runs[key], read_run(results, key) or {}
    return {
        "run": key,
        "kind": run.kind,
        "done": bool(record),
        "seed": run.spec.get("seed"),
        "spec": dict(record.get("spec", run.spec)),
        "inputs": dict(record.get("inputs", run.inputs)),
        "data": _data(record.get("inputs", run.inputs), results),
        "facts": {name: value for name, value in facts(record).items() if value not in (None, "")},
        "metrics": record.get("metrics", {}),
        "checks": check_lines(record) if record else [],
    }


def row_provenance(plan: Plan, table: TablePlan, row: str, results: Path) -> dict[str, Any]:
    """Collect the runs behind each number of a table's row.

    Returns:
        ``table``, ``row``, ``label``, ``numbers`` (lines of ``{column, label, metric, seed, value, run, pretraining}``) and
        ``runs`` (run -> ``provenance``), the pre-trainings first.

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
                {
                    "column": cell.column,
                    "label": columns[cell.column],
                    "metric": cell.metric,
                    "seed": seed,
                    "value": runs[key]["metrics"].get(cell.metric),
                    "run": key,
                    "pretraining": table.pretrainings[row][seed],
                }
            )
    return {"table": ablation.name, "row": row, "label": labels[row], "numbers": numbers, "runs": runs}


def row_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """``row_provenance`` as text."""
    yield f"{found['table']}, row {found['row']}: {found['label']}"
    for number in found["numbers"]:
        value = "no value" if number["value"] is None else f"{number['value']:.4g}"
        yield f"  {number['label']} ({number['metric']}), seed {number['seed']}: {value}"
        yield f"    {number['run']} from {number['pretraining']}"
    for run in found["runs"].values():
        yield ""
        yield from run_lines(run)


def run_lines(run: Mapping[str, Any]) -> Iterator[str]:
    """``provenance`` as text."""
    yield run["run"] + ("" if run["done"] else ": no record yet")
    for name, value in run["facts"].items():
        yield f"  {name}: {_words(value)}"
    for line in run["checks"]:
        yield f"  {line}"
    for role, key in run["inputs"].items():
        content = run["data"].get(role)
        yield f"  input {role}: {key}" + (f", content {content}" if content else "")
    for dotted, value in flatten(run["spec"]).items():
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


def unnamed_code(record: Mapping[str, Any]) -> str | None:
    """Explain why the repository cannot name the code of a run; None if it can: a commit holds exactly what ran.

    Code committed unchanged after the run also counts, if it is that of the current commit.
    """
    found = record.get("provenance", {})
    for code in (found, *found.get("earlier_code", ())):
        name, digest = code.get("code"), code.get("code_digest")
        if digest and not code.get("code_edited") and digest == commit_digest("HEAD"):
            continue
        if not name:
            return "its code was in no repository"
        if name.endswith(CHANGED):
            edited = "was edited while it was made" if code.get("code_edited") else "differed from the commit"
            return f"its code, {name}, {edited}"
        held = commit_digest(name)
        if held is None:
            return f"commit {name} is not in this repository (of a shallow clone, fetch the rest)"
        if digest and digest != held:
            return f"its code, {digest}, is not that of commit {name}, {held}"
    return None


def check_lines(record: Mapping[str, Any]) -> list[str]:
    """List what the run's own checks found, a line for each; one line if the record is older than the checks."""
    if "checks" not in record:
        return ["checks: none recorded; the run is older than they are"]
    return [
        f"check {check['check']}: {'passed' if check['passed'] else 'WARNING'}: {check['says']}"
        for check in record["checks"]
    ]


def facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record's facts about its run beside the spec, with units; None for missing ones."""
    found: dict[str, Any] = {}
    for name, path, unit in FACTS:
        value: Any = record
        for part in path:
            value = value.get(part) if isinstance(value, Mapping) else None
        found[name] = f"{value} {unit}" if unit and value is not None else value
    return found


def find_run(results: Path, name: str) -> str:
    """Find the ``kind/id`` of a recorded run, planned or not, by its key, its identity or the start of it.

    Raises:
        SpecError: none, or several; the message lists the candidates.
    """
    keys = sorted(str(path.parent.relative_to(results)) for path in results.glob("*/*/record.json"))
    exact = [key for key in keys if name in (key, key.split("/")[1])]
    found = exact or [key for key in keys if key.startswith(name) or key.split("/")[1].startswith(name)]
    if len(found) == 1:
        return found[0]
    problem = "is ambiguous" if found else f"is not a run with a record in {results}"
    listed = "\n  ".join(found or keys) or "(none)"
    raise SpecError(f"'{name}' {problem}; the runs are\n  {listed}")


def differences(results: Path, one: str, other: str) -> Iterator[str]:
    """Describe how two recorded runs differ: spec, inputs, circumstances and metrics.

    Args:
        one, other: ``kind/id``.
    """
    first, second = read_run(results, one) or {}, read_run(results, other) or {}
    yield f"- {one}"
    yield f"+ {other}"
    parts = [
        ("spec", flatten(first.get("spec", {})), flatten(second.get("spec", {}))),
        ("inputs", first.get("inputs", {}), second.get("inputs", {})),
        ("data", _data(first.get("inputs", {}), results), _data(second.get("inputs", {}), results)),
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
    numbers = list(_metrics(first.get("metrics", {}), second.get("metrics", {})))
    if numbers:
        yield "\nmetrics"
        yield from numbers
    if alike and not numbers:
        yield "\nnothing differs"


def _metrics(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    for name in dict.fromkeys([*ours, *theirs]):
        a, b = ours.get(name), theirs.get(name)
        if a == b:
            continue
        gap = f" ({b - a:+.4g})" if isinstance(a, int | float) and isinstance(b, int | float) else ""
        shown = [f"{value:.4g}" if isinstance(value, int | float) else _words(value) for value in (a, b)]
        yield f"  {name}: {shown[0]} -> {shown[1]}{gap}"


def _data(inputs: Mapping[str, str], results: Path) -> dict[str, str]:
    """Map role of each data set among the inputs -> digest of its manifest, if it still exists."""
    found = {}
    for role, key in inputs.items():
        path = results / key / MANIFEST
        if path.is_file():
            found[role] = hashlib.sha256(path.read_bytes()).hexdigest()[:10]
    return found


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {part}" for key, part in value.items())
    return (
        "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    )
