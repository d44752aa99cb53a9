"""``mamo status``: show what is done, diverged, running, failed or to do."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mamo.cli import options
from mamo.cli.plan import KINDS
from mamo.files.stored import read_record_file
from mamo.specs.identity import Run
from mamo.specs.plan import Plan

_STEP = re.compile(r"^step (\d+)/(\d+)  ([\d:]+) left  (.*)$", re.MULTILINE)
_TAIL = 4096  # bytes at the end of a log that are read
STATES = ("converged", "diverged", "skipped", "running", "failed", "to do")


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "status",
        help="show which runs are done, diverged, running, failed or to do",
        description="Count the runs of a scale by how they ended, and show the steps of those in progress. Failed: a job "
        "started, left no record and no longer runs, because of an error or because it was stopped; its log says which.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="only the runs of these tables")
    parser.add_argument("--runs", action="store_true", help="list every run")
    options.add_json(parser)
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.read_plan(args, args.tables)
    results, logs = options.results_of(args), options.logs_of(args)
    states = {key: state_of(run, results, logs) for key, run in plan.runs.items()}
    if args.json:
        options.print_json(_values(plan, states, results, logs))
        return 0
    print(f"Scale {plan.scale.name}\n\n{'':10}" + "".join(f"{state:>12}" for state in STATES))
    for kind in KINDS:
        count = Counter(states[run.key] for run in plan.by_kind(kind))
        print(f"{kind:10}" + "".join(f"{count[state] or '-':>12}" for state in STATES))
    if args.runs:
        print()
        for key, state in states.items():
            print(f"{state:12}{key}")
    for key, state in states.items():
        if state in ("running", "failed"):
            log = log_of(plan.runs[key], logs)
            step = last_step(log) if state == "running" else None
            print(f"\n{state}: {key}" + (f"\n  {step}" if step else "") + f"\n  log: {log}")
    if "running" in states.values():
        print(f"\nCurves: tensorboard --logdir {results}")
    return 0


def _values(plan: Plan, states: Mapping[str, str], results: Path, logs: Path) -> dict[str, Any]:
    """Return the states of all runs as plain values."""
    counts = {
        kind: dict.fromkeys(STATES, 0) | Counter(states[run.key] for run in plan.by_kind(kind))
        for kind in KINDS
    }
    runs = []
    for key, state in states.items():
        run = plan.runs[key]
        log, step = log_of(run, logs), None
        if state == "running" and (progress := last_step(log)) is not None:
            step = {
                "finished": progress.finished,
                "total": progress.total,
                "left": progress.left,
                "parts": progress.parts,
            }
        record = read_record_file(run.record(results)) if run.record(results).is_file() else None
        runs.append(
            {
                "run": key,
                "kind": run.kind,
                "state": state,
                "log": str(log) if log.is_file() else None,
                "step": step,
                "metrics": record.metrics if record else {},
                "seconds": record.provenance.wall_seconds if record else None,
            }
        )
    return {"scale": plan.scale.name, "results": str(results), "counts": counts, "runs": runs}


class Step(NamedTuple):
    """The progress of a training run."""

    finished: int
    total: int
    left: str
    parts: str

    def __str__(self) -> str:
        return f"step {self.finished}/{self.total}, {self.left} left, {self.parts}"


def last_step(log: Path) -> Step | None:
    """Read the last step from a run's log (see :class:`mamo.training.progress_log.ProgressLog`)."""
    if not log.is_file():
        return None
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - _TAIL))
        text = file.read().decode("utf-8", errors="replace")
    matches = _STEP.findall(text)
    return Step(int(matches[-1][0]), int(matches[-1][1]), matches[-1][2], matches[-1][3]) if matches else None


def log_of(run: Run, logs: Path) -> Path:
    """Return the path of a run's log, below one scale's logs."""
    return logs / run.kind / f"{run.id}.log"


def written_since(run: Run, logs: Path, since: float) -> bool:
    """Check whether a run's log was written to after a moment (seconds since the epoch)."""
    log = log_of(run, logs)
    return log.is_file() and log.stat().st_mtime >= since


def state_of(run: Run, results: Path, logs: Path) -> str:
    """Return the state of a run: one of ``STATES``."""
    record = run.record(results)
    if record.is_file():
        return read_record_file(record).outcome.status
    if _is_locked(run.directory(results) / ".lock"):
        return "running"
    # Logs belong to a scale, not to a results folder: a run was tried here only if it also has a directory here.
    tried = log_of(run, logs).is_file() and run.directory(results).is_dir()
    return "failed" if tried else "to do"


def _is_locked(path: Path) -> bool:
    """Check whether a process holds a run's lock."""
    if not path.is_file():
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
