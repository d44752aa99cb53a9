"""``mamo reproduce``: make everything that a scale's tables and figures need, with progress and a final summary."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from mamo.cli import options, warm
from mamo.cli.children import StopRequest, forward_signals, start
from mamo.cli.plan import KINDS
from mamo.cli.progress import Progress
from mamo.cli.request import Missing, Request, one_seed
from mamo.cli.snakemakes import config_word, running_snakemakes
from mamo.cli.status import last_step, log_of, state_of, written_since
from mamo.cost.work import CPU_RATE, GPU_RATE, work_of, work_of_pages
from mamo.reporting.pages import INDEX, OVERVIEW, Page, pages_of
from mamo.reporting.provenance import read_run
from mamo.runs.lock import owner, run_lock
from mamo.runs.run import RunError
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan
from mamo.specs.seeds import write_seeds
from mamo.training.progress_log import duration

POLL_SECONDS = 1.0
TAIL = 20


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reproduce",
        help="make the tables and figures of a scale, or some of them",
        description="Run the workflow (Snakemake) for a scale: data, starting weights, pre-trainings, fine-tunings, tables, "
        "figures. What is already done is not done again; after an interruption the same command resumes.",
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="e.g. table5 figure6; none: all of the scale"
    )
    parser.add_argument(
        "--cores", default="all", metavar="N", help="jobs of one thread at once (default: all cores)"
    )
    parser.add_argument(
        "--profile", metavar="NAME", help="a Snakemake profile, e.g. slurm (default: params.yaml)"
    )
    parser.add_argument(
        "--record",
        action=argparse.BooleanOptionalAction,
        help="record for DVC what was made, so that `dvc repro` finds it done (default: params.yaml)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="make the runs of this one seed, counted from 0, and no page: for machines that share a table's seeds, whose "
        "packs are merged afterwards",
    )
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would be done, and stop")
    options.add_folders(parser)
    options.add_releases(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    if not Path("Snakefile").is_file():
        raise SpecError(
            f"{Path.cwd()} is not a project folder: it has no Snakefile. Call mamo reproduce in the project's root folder"
        )
    plan = options.read_plan(args, others=True)
    pages = pages_of(plan, options.ABLATIONS)
    for name in args.tables:
        options.check_name(name, pages, f"scale '{plan.scale.name}' has no table or page")
    request = Request(args, plan, pages) if args.seed is None else one_seed(args, plan)
    missing = request.missing()
    _announce(plan, request, missing)
    if not missing:
        print(f"Nothing to do: everything is made. {_next(args, request)}")
        return 0
    if args.dry_run:
        return 0
    return _run(args, plan, request, missing)


def _next(args: argparse.Namespace, request: Request) -> str:
    """Say where the pages are; of one seed's runs, which have none, how to move them."""
    if args.seed is None:
        return f"See {_landing(request.pages, request.reports)}"
    return f"`mamo results pack --scale {request.plan.scale.name}` packs the runs for another machine"


def _landing(pages: list[Page], reports: Path) -> str:
    """Return the pages to point the user to: ``index.html`` if it was asked for, else every page."""
    whole = [page for page in pages if page.name in (INDEX, OVERVIEW)]
    return " ".join(str(reports / page.files[0]) for page in whole or pages)


def _announce(plan: Plan, request: Request, missing: Missing) -> None:
    print(f"Scale {plan.scale.name}: {plan.scale.title}")
    if plan.scale.caveat:
        print(" ".join(plan.scale.caveat.split()))
    print(f"Cost of the whole scale: {' '.join(plan.scale.cost.split())}\n")
    total, left = Counter(run.kind for run in request.runs), Counter(run.kind for run in missing.runs)
    for kind in KINDS:
        if total[kind]:
            print(f"  {kind:9} {left[kind]:4} to do, {total[kind] - left[kind]:4} done")
    if request.pages:
        print(f"  {'pages':9} {len(missing.pages):4} to do")
    if missing.notebooks:
        print(f"  {'notebooks':9} {len(missing.notebooks):4} to do")
    print()


def _run(args: argparse.Namespace, plan: Plan, request: Request, missing: Missing) -> int:
    """Hold the scale's lock while working: a second call would overwrite the first one's log and wait for nothing."""
    logs = options.logs_of(args)
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(run_lock(logs))
        except RunError:
            print(
                f"mamo: another `mamo reproduce` works in this folder at scale {plan.scale.name}{owner(logs)}: wait until it "
                "ends, or stop it; then the same command continues with what is left",
                file=sys.stderr,
            )
            return 1
        usual = options.setting(argparse.Namespace(), "scale")
        if others := running_snakemakes(Path.cwd(), plan.scale.name, usual):
            print(
                f"mamo: another Snakemake works in this folder at scale {plan.scale.name} (process "
                f"{', '.join(map(str, others))}; called by itself or by `dvc repro`, or left by a killed `mamo reproduce` and "
                "now saving what its runs have done): wait until it ends; then the same command continues with what is left",
                file=sys.stderr,
            )
            return 1
        return _work(args, request, missing)


def _work(args: argparse.Namespace, request: Request, missing: Missing) -> int:
    """Call Snakemake until everything is made: after another Snakemake was killed, it may exit with 0 and leave files out."""
    logs, began, first, stop = options.logs_of(args), time.time(), missing, StopRequest(signal.SIGINT)
    targets = (
        [str(run.record(request.results)) for run in missing.runs] if args.seed is not None else args.tables
    )
    log, command = logs / "snakemake.log", _snakemake(args, targets)
    told = shlex.join(command if args.seed is None else command[: -len(targets)])
    told += f" (the records of {len(targets)} runs)" if args.seed is not None else ""
    print(f"{told}\n  its own messages: {log}\n", flush=True)
    with suppress(FileNotFoundError):  # a killed one may still write to it for a while
        log.replace(log.with_suffix(".previous.log"))
    status = 0
    with forward_signals(stop), _warm(args) as warmed, _progress(args, request, first) as progress:
        while not stop.by:
            before = missing
            with log.open("ab") as file:
                process = start(command, _environment() | warmed, file, subprocess.STDOUT)
                stop.passes_to(process)
                _follow(process, request, missing, logs, began, progress)
            missing, status = request.missing(), process.returncode
            if not missing or status or len(missing.names()) == len(before.names()):
                break
    took = duration(time.time() - began)
    if stop.by:
        print(
            f"\nStopped by {stop.by.name} after {took}. Not made yet: {missing}. "
            "The same command continues with what is left.",
            file=sys.stderr,
        )
        return stop.status
    if status or missing:
        _failed(missing, request, log, logs, began, took, status)
        return 1
    _done(args, first, request, logs, took)
    return 0


def _progress(args: argparse.Namespace, request: Request, missing: Missing) -> Progress:
    """Set up progress over everything that is missing, weighted by counted work."""
    gpus = options.profile_of(args) or any(Path("/dev").glob("nvidia[0-9]*"))
    parts = work_of(request.plan, missing.runs, request.results, GPU_RATE if gpus else CPU_RATE)
    parts |= work_of_pages(request.plan, missing.pages, missing.notebooks)
    cores = str(args.cores)
    return Progress(parts, int(cores) if cores.isdecimal() and int(cores) else os.cpu_count() or 1)


def _follow(
    process: subprocess.Popen[bytes],
    request: Request,
    missing: Missing,
    logs: Path,
    began: float,
    progress: Progress,
) -> None:
    """Report runs and pages as they finish, until Snakemake ends."""
    results, waiting = request.results, list(missing.runs)
    files = request.unpublished(missing)
    while True:
        ended = process.poll() is not None
        for run in [run for run in waiting if run.record(results).is_file()]:
            waiting.remove(run)
            record = read_run(results, run.key)
            took = record.provenance.wall_seconds if record else None
            progress.done(run, state_of(run, results, logs), took)
        for name in [name for name, made in files.items() if made()]:
            del files[name]
            progress.published(name)
        if ended:
            return
        steps = {run.key: last_step(log_of(run, logs)) for run in waiting if written_since(run, logs, began)}
        progress.running({key: step for key, step in steps.items() if step is not None})
        time.sleep(POLL_SECONDS)


def _done(args: argparse.Namespace, first: Missing, request: Request, logs: Path, took: str) -> None:
    """Print the summary of a complete call."""
    print(f"\nDone in {took}: {len(first.runs)} runs. {_next(args, request)}")
    for run in first.runs:
        if state_of(run, request.results, logs) == "diverged":
            print(f"  diverged (a result, shown as ×): {run.key}")
    for run in first.runs:
        record = read_run(request.results, run.key)
        for check in record.warnings if record else ():
            print(f"  WARNING: {run.key}: {check.name}: {check.says}")


def _warm(args: argparse.Namespace) -> AbstractContextManager[dict[str, str]]:
    """Start a warm process, unless jobs run on a GPU (long enough to start on their own) or on a cluster (elsewhere)."""
    elsewhere = options.profile_of(args) or any(Path("/dev").glob("nvidia[0-9]*"))
    return nullcontext({}) if elsewhere else warm.warm_process()


def _environment() -> dict[str, str]:
    """Return this process's environment with this Python's folder on the path, so that .venv need not be activated."""
    folder, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    return os.environ | ({} if folder in path.split(os.pathsep) else {"PATH": f"{folder}{os.pathsep}{path}"})


def _snakemake(args: argparse.Namespace, targets: list[str]) -> list[str]:
    config = [
        config_word(name, value)
        for name in ("scale", "results", "reports", "releases")
        if (value := options.setting(args, name)) is not None
    ]
    if seeds := write_seeds(options.seeds_of(args)):
        config.append(f"seeds={seeds}")
    if args.record:
        config.append("record=True")
    program = shutil.which("snakemake", path=_environment()["PATH"])
    if program is None:
        raise SpecError("snakemake is not installed: install the project with its dependencies")
    name = options.profile_of(args)
    profile = ["--profile", name] if name else []
    cores = [] if name else ["--cores", str(args.cores)]
    hooks = ["--no-hooks"] if args.record is False else []
    return [program, *profile, *cores, *hooks, "--config", *config, "--", *(targets or ["reproduce_all"])]


def _failed(
    missing: Missing, request: Request, log: Path, logs: Path, began: float, took: str, status: int
) -> None:
    """Print which jobs failed, and the end of the first one's log."""
    print(f"\nFailed after {took}. Not made: {missing}.", file=sys.stderr)
    text = log.read_text(encoding="utf-8", errors="replace")
    refused = "LockException" in text
    begun = [] if refused else [run for run in missing.runs if written_since(run, logs, began)]
    # A run that failed before writing anything has no folder (Snakemake removes the empty one), but a log of this call.
    states = {run.key: state_of(run, request.results, logs) for run in begun}
    states = {key: "failed" if state == "to do" else state for key, state in states.items()}
    for run in begun:
        print(f"  {states[run.key]}: {run.key}\n    log: {log_of(run, logs)}", file=sys.stderr)
    if not status:
        listed = "".join(f"\n  {name}" for name in missing.names())
        print(f"Snakemake has ended without an error, but left out:{listed}", file=sys.stderr)
    failed = [run for run in begun if states[run.key] == "failed"]
    shown = log_of(failed[0], logs) if failed else log
    print(f"\nThe end of {shown}:", file=sys.stderr)
    lines = shown.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\n".join(f"  {line}" for line in lines[-TAIL:]), file=sys.stderr)
    if refused:
        print(f"\n{_lock_advice()}", file=sys.stderr)
    print("\nThe same command continues with what is left.", file=sys.stderr)


def _lock_advice() -> str:
    """Advise what to do about a lock that a killed Snakemake left behind."""
    if others := running_snakemakes(Path.cwd()):
        return f"Another Snakemake works in this folder (process {', '.join(map(str, others))}): wait until it ends."
    return (
        "A Snakemake that was killed has left its lock. If none works in this folder on another machine: "
        "`snakemake --unlock`."
    )
