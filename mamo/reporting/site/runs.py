"""Collect what the page shows of every run: purpose, outcome, cost, throughput, provenance and training curve."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mamo.files.stored import read_record_file
from mamo.reporting.names import column_names, job_name, row_names, table_name
from mamo.reporting.tables import sensible
from mamo.specs.identity import Run, SpecValues, changes
from mamo.specs.plan import Plan

CURVE = "curve.csv"
_POINTS = 60  # of a shown curve, at most
_COMMANDS = {"data": "prepare"}
# Parts of the data and the starting weights, whose names alone say too little.
_PARTS = {
    "world": "Generated world",
    "vision": "Image encoder",
    "text": "Text encoder",
    "visual_tokens": "Visual tokeniser",
}


@dataclass(frozen=True)
class RunLine:
    """One run as the page shows it.

    Attributes:
        changed: how a pre-training differs from the scale's own, by dotted names.
        command: makes the run.
        outcome: ``missing`` without a record; data are ``made``.
        wall, cpu: seconds.
        memory: at most, MB.
        rate: pairs per second.
        machine, versions: None without a record.
        label: a name for people that no other run has.
        shown: the rows that it stands behind.
    """

    key: str
    kind: str
    name: str
    inputs: Mapping[str, str]
    changed: SpecValues
    spec: SpecValues
    command: str
    outcome: str
    wall: float | None = None
    cpu: float | None = None
    memory: float | None = None
    steps: int | None = None
    rate: float | None = None
    reason: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    checks: list[dict[str, Any]] | None = None
    revision: int | None = None
    started: str | None = None
    machine: str | None = None
    versions: Mapping[str, str] | None = None
    code: str | None = None
    label: str = ""
    shown: list[str] = field(default_factory=list)


def run_lines(plan: Plan, results: Path) -> list[RunLine]:
    """One entry for each planned run, in planning order; a run without a record is ``missing``."""
    labels, shown = run_labels(plan)
    return [
        replace(_line(plan, run, results), label=labels[run.key], shown=shown[run.key])
        for run in plan.runs.values()
    ]


def run_labels(plan: Plan) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Map run key -> a readable unique name; and run key -> the rows that use it."""
    first: dict[str, str] = {}
    shown: dict[str, list[str]] = {key: [] for key in plan.runs}
    for name, table in plan.tables.items():
        names = row_names(table.ablation)
        jobs = {column.key: job_name(column.job) for column in table.ablation.columns}
        several = max((len(keys) for keys in table.pretrainings.values()), default=1) > 1
        found = [(row, "", keys) for row, keys in table.pretrainings.items()]
        found += [(cell.row, jobs[cell.column], cell.runs) for cell in table.cells]
        for row, job, keys in found:
            for seed, key in enumerate(keys):
                where = f"{table_name(name)}, {names[row]}" + (f", seed {seed}" if several else "")
                if where not in shown[key]:
                    shown[key].append(where)
                first.setdefault(key, f"{job}: {where}" if job else where)
    labels = {run.key: first.get(run.key) or _part_name(run) for run in plan.runs.values()}
    taken = [(plan.runs[key].kind, label) for key, label in labels.items()]
    names = {}
    for key, label in labels.items():
        alone = taken.count((plan.runs[key].kind, label)) == 1
        names[key] = label if alone else f"{label} ({key.rsplit('-', 1)[-1]})"
    return names, shown


def _part_name(run: Run) -> str:
    name = run.name.partition("-")[0]
    return _PARTS.get(name) or job_name(name)


def metric_labels(plan: Plan) -> dict[str, dict[str, str]]:
    """Map job -> metric -> its column's name in a table, the longest where tables differ."""
    found: dict[str, dict[str, str]] = {}
    for table in plan.tables.values():
        names = column_names(table.ablation)
        for column in table.ablation.columns:
            labels = found.setdefault(column.job, {})
            labels[column.metric] = max(labels.get(column.metric, ""), names[column.key], key=len)
    return found


def setting_text(value: Any) -> str:
    """Write a setting's value for people: ``off`` for a part that is not used, words without quotation marks."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        parts = {
            name: f"({setting_text(part)})" if isinstance(part, Mapping) else setting_text(part)
            for name, part in value.items()
        }
        return ", ".join(f"{name} {text}" for name, text in parts.items()) or "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(setting_text, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _line(plan: Plan, run: Run, results: Path) -> RunLine:
    line = RunLine(
        key=run.key,
        kind=run.kind,
        name=run.name,
        inputs=dict(run.inputs),
        changed=_changed(plan, run),
        spec=dict(run.spec),
        command=f"mamo {_COMMANDS.get(run.kind, run.kind)} --scale {plan.scale.name} --needs {run.id}",
        outcome="missing",
    )
    path = run.record(results)
    if not path.is_file():
        return line
    record = read_record_file(path)
    provenance, details, status = record.provenance, record.details, record.outcome.status
    machine = provenance.machine
    return replace(
        line,
        # Data runs do not converge; they are done.
        outcome="made" if run.kind == "data" and status == "converged" else status,
        wall=_rounded(provenance.wall_seconds),
        cpu=_rounded(provenance.cpu_seconds),
        memory=provenance.peak_memory_mb,
        steps=details.get("steps"),
        rate=_rounded(details.get("pairs_per_second")),
        reason=record.outcome.reason or "",
        metrics={
            name: sensible(value) for name, value in record.metrics.items() if abs(value) < float("inf")
        },
        checks=None if record.checks is None else [check.as_json() for check in record.checks],
        revision=record.revision,
        started=provenance.started,
        machine=", ".join(str(machine[key]) for key in ("gpu", "cpu", "system") if machine.get(key)),
        versions=provenance.versions,
        code=provenance.code,
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 2)


def _changed(plan: Plan, run: Run) -> SpecValues:
    """Describe how a pre-training differs from the scale's own."""
    if run.kind != "pretrain":
        return {}
    return changes(plan.scale.pretrain.model_dump(mode="json"), run.spec)


def packed(lines: Iterable[RunLine]) -> dict[str, Any]:
    """Pack lines for the script without repetition.

    Returns:
        ``runs``: key -> line, whose ``spec`` is ``[base, changes by dotted name]`` and whose ``machine`` and ``versions`` are
        one number; ``specs`` and ``places``: what these numbers stand for.
    """
    specs: dict[str, tuple[int, SpecValues]] = {}
    places: dict[str, int] = {}
    runs = {}
    for line in lines:
        # Runs of a kind with the same parts differ by little from the first of them.
        shape = json.dumps([line.kind, sorted(line.spec)])
        number, base = specs.setdefault(shape, (len(specs), line.spec))
        kept = {
            name: value
            for name, value in vars(line).items()
            if name not in ("spec", "machine", "versions") and value not in (None, {}, [], "")
        }
        runs[line.key] = kept | {"spec": [number, changes(base, line.spec)]}
        if line.versions is not None:
            place = json.dumps({"machine": line.machine, "versions": dict(line.versions)}, sort_keys=True)
            runs[line.key]["place"] = places.setdefault(place, len(places))
    return {
        "runs": runs,
        "specs": [spec for _, spec in specs.values()],
        "places": [json.loads(place) for place in places],
    }


def curves(plan: Plan, results: Path) -> dict[str, dict[str, list[float | None]]]:
    """Map run key -> column -> values, thinned out to keep the page small; only columns that have a value."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for run in plan.runs.values():
        path = run.directory(results) / CURVE
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if len(rows) > _POINTS:
                rows = [rows[round(i * (len(rows) - 1) / (_POINTS - 1))] for i in range(_POINTS)]
            if rows:
                columns = {name: [_short(row[name]) for row in rows] for name in rows[0]}
                found[run.key] = {k: v for k, v in columns.items() if any(value is not None for value in v)}
    return found


def packed_curves(curves: Mapping[str, Mapping[str, list[float | None]]]) -> dict[str, Any]:
    """Curves for the script: ``steps``, each list once, and ``curves``, whose ``step`` is its place among them."""
    steps: dict[str, int] = {}
    found = {}
    for key, columns in curves.items():
        number = steps.setdefault(json.dumps(columns.get("step", [])), len(steps))
        found[key] = {"step": number} | {name: values for name, values in columns.items() if name != "step"}
    return {"steps": [json.loads(text) for text in steps], "curves": found}


def _short(text: str) -> float | int | None:
    """Round to four digits; None if the loss was not finite, which JSON cannot express."""
    value = float(text) if text else float("nan")
    if not abs(value) < float("inf"):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short
