"""What the page says of every run: outcome, cost, throughput, provenance and training curve."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from mamo.specs.identity import Run, changes
from mamo.specs.plan import Plan
from mamo.specs.stored import read_record_file

CURVE = "curve.csv"
_POINTS = 60  # of a shown curve, at most
_COMMANDS = {"data": "prepare"}


def run_lines(plan: Plan, results: Path) -> list[dict[str, Any]]:
    """One entry for each planned run, in planning order; a run without a record is ``missing``."""
    return [_line(plan, run, results) for run in plan.runs.values()]


def _line(plan: Plan, run: Run, results: Path) -> dict[str, Any]:
    line: dict[str, Any] = {
        "key": run.key,
        "kind": run.kind,
        "name": run.name,
        "inputs": dict(run.inputs),
        "changed": _changed(plan, run),
        "spec": dict(run.spec),
        "command": f"mamo {_COMMANDS.get(run.kind, run.kind)} --scale {plan.scale.name} --needs {run.id}",
        "outcome": "missing",
    } | dict.fromkeys(("wall", "cpu", "memory", "steps", "rate"))
    path = run.record(results)
    if not path.is_file():
        return line
    record = read_record_file(path)
    provenance, details = record.get("provenance", {}), record.get("details", {})
    machine = provenance.get("machine", {})
    return line | {
        "outcome": record["outcome"]["status"],
        "reason": record["outcome"].get("reason") or "",
        "metrics": {k: v for k, v in record.get("metrics", {}).items() if isinstance(v, int | float)},
        "checks": record.get("checks"),
        "revision": record.get("revision"),
        "started": provenance.get("started"),
        "wall": provenance.get("wall_seconds"),
        "cpu": provenance.get("cpu_seconds"),
        "memory": provenance.get("peak_memory_mb"),
        "machine": ", ".join(str(machine[key]) for key in ("gpu", "cpu", "system") if machine.get(key)),
        "versions": provenance.get("versions", {}),
        "code": provenance.get("code"),
        "steps": details.get("steps"),
        "rate": details.get("pairs_per_second"),
    }


def _changed(plan: Plan, run: Run) -> dict[str, Any]:
    """How a pre-training differs from the scale's own."""
    if run.kind != "pretrain":
        return {}
    return changes(plan.scale.pretrain.model_dump(mode="json"), run.spec)


def curves(plan: Plan, results: Path) -> dict[str, dict[str, list[float | None]]]:
    """Run key -> column -> values, thinned out to so many points that the page stays small."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for run in plan.runs.values():
        path = run.directory(results) / CURVE
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            if len(rows) > _POINTS:
                rows = [rows[round(i * (len(rows) - 1) / (_POINTS - 1))] for i in range(_POINTS)]
            if rows:
                found[run.key] = {name: [_short(row[name]) for row in rows] for name in rows[0]}
    return found


def _short(text: str) -> float | None:
    """A number to four digits; None where the loss was not finite, which JSON cannot say."""
    value = float(text) if text else float("nan")
    return float(f"{value:.4g}") if abs(value) < float("inf") else None
