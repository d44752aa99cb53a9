"""``mamo reproduce``: everything that a scale's tables and figures need, with progress and a clear end."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from mamo.cli import options, warm
from mamo.cli.plan import KINDS
from mamo.cli.progress import Progress
from mamo.cli.status import fresh, last_step, log_of, state_of
from mamo.figures.pages import FOLDER as FIGURES
from mamo.reporting.notebooks import unexecuted
from mamo.reporting.pages import INDEX, OVERVIEW, Page, pages_of
from mamo.reporting.provenance import read_run
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan
from mamo.specs.seeds import write_seeds
from mamo.training.lock import owner, run_lock
from mamo.training.run import RunError
from mamo.training.watching import duration

POLL_SECONDS = 1.0
TAIL = 20


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "reproduce",
        help="make the tables and figures of a scale, or some of them",
        description="Run the workflow (Snakemake) for a scale: data, starting weights, pre-trainings, fine-tunings, tables, "
        "figures. What is done already is not done again; after an interruption the same command goes on.",
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
    parser.add_argument("--dry-run", "-n", action="store_true", help="say what would be done, and stop")
    options.add_folders(parser)
    options.add_releases(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    if not Path("Snakefile").is_file():
        raise SpecError("there is no Snakefile here: call mamo reproduce in the project's root folder")
    plan = options.planned(args, others=True)
    results, reports = options.results_of(args), options.reports_of(args)
    pages = pages_of(plan, options.ABLATIONS)
    for name in args.tables:
        if name not in pages:
            raise SpecError(f"scale '{plan.scale.name}' has no '{name}' ({', '.join(pages)})")
    whole = [page for page in pages.values() if page.listed]
    wanted = [pages[name] for name in args.tables] or whole
    read = [*whole, *wanted] if {OVERVIEW, INDEX} & set(args.tables) else wanted
    needed = plan.closure(key for page in read for key in page.inputs)
    runs = [run for key, run in plan.runs.items() if key in needed]
    open_runs = [run for run in runs if not run.record(results).is_file()]
    open_pages = [page for page in wanted if not _published(page, results, reports)]
    waiting = [] if args.tables else unexecuted(plan, reports)
    _announce(plan, runs, open_runs, open_pages, waiting)
    if not (open_runs or open_pages or waiting):
        print(f"Nothing to do: everything is made. See {_landing(wanted, reports)}")
        return 0
    if args.dry_run:
        return 0
    return _run(args, plan, open_runs, wanted)


def _published(page: Page, results: Path, reports: Path) -> bool:
    """Whether a page is there as planned, with the values that it shows."""
    stored = [results / folder / f"{page.id}.json" for folder in ("tables", FIGURES)]
    values = page.name in (OVERVIEW, INDEX) or any(path.is_file() for path in stored)
    return values and not page.stale(reports) and all((reports / file).is_file() for file in page.files)


def _landing(wanted: list[Page], reports: Path) -> str:
    """Where to look: the page with everything where it was asked for, else every page."""
    whole = [page for page in wanted if page.name in (INDEX, OVERVIEW)]
    return " ".join(str(reports / page.files[0]) for page in whole or wanted)


def _announce(
    plan: Plan, runs: list[Run], open_runs: list[Run], open_pages: list[Page], notebooks: list[str]
) -> None:
    print(f"Scale {plan.scale.name}: {plan.scale.title}")
    if plan.scale.caveat:
        print(" ".join(plan.scale.caveat.split()))
    print(f"Cost of the whole scale: {' '.join(plan.scale.cost.split())}\n")
    total, counts_left = Counter(run.kind for run in runs), Counter(run.kind for run in open_runs)
    for kind in KINDS:
        if total[kind]:
            print(f"  {kind:9} {counts_left[kind]:4} to do, {total[kind] - counts_left[kind]:4} done")
    print(f"  {'pages':9} {len(open_pages):4} to do")
    if notebooks:
        print(f"  {'notebooks':9} {len(notebooks):4} to do")
    print()


def _run(args: argparse.Namespace, plan: Plan, open_runs: list[Run], wanted: list[Page]) -> int:
    """Work under a lock of the scale: a second call would write over the first one's log, and wait for its jobs in vain."""
    logs = options.logs_of(args)
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(run_lock(logs))
        except RunError:
            print(
                f"mamo: another `mamo reproduce` works in this folder at scale {plan.scale.name}{owner(logs)}: wait until it "
                "ends, or stop it; then the same command goes on with what is left",
                file=sys.stderr,
            )
            return 1
        return _work(args, plan, open_runs, wanted)


def _work(args: argparse.Namespace, plan: Plan, open_runs: list[Run], wanted: list[Page]) -> int:
    results, reports, logs = options.results_of(args), options.reports_of(args), options.logs_of(args)
    log, command, began = logs / "snakemake.log", _snakemake(args), time.time()
    print(f"{shlex.join(command)}\n  its own messages: {log}\n")
    with log.open("w", encoding="utf-8") as file, _warm(args) as warmed:
        environment = _environment() | warmed
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        try:
            with Progress(len(open_runs)) as progress:
                waiting = list(open_runs)
                while True:
                    ended = process.poll() is not None
                    for run in [run for run in waiting if run.record(results).is_file()]:
                        waiting.remove(run)
                        progress.done(run, state_of(run, results, logs))
                    if ended:
                        break
                    found = {
                        run.key: last_step(log_of(run, logs)) for run in waiting if fresh(run, logs, began)
                    }
                    progress.running({key: step for key, step in found.items() if step is not None})
                    time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            process.wait()  # Snakemake had the same interrupt and ends its jobs
            raise
    took = duration(time.time() - began)
    if process.returncode:
        _failed(waiting, log, logs, began, took)
        return 1
    diverged = [run.key for run in open_runs if state_of(run, results, logs) == "diverged"]
    print(f"\nDone in {took}: {len(open_runs)} runs. See {_landing(wanted, reports)}")
    for key in diverged:
        print(f"  diverged (a result, shown as ×): {key}")
    for run in open_runs:
        for check in (read_run(results, run.key) or {}).get("checks", ()):
            if not check["passed"]:
                print(f"  WARNING: {run.key}: {check['check']}: {check['says']}")
    return 0


def _warm(args: argparse.Namespace) -> AbstractContextManager[dict[str, str]]:
    """A warm process for jobs of this machine; a GPU's jobs run long enough to start by themselves, a cluster's elsewhere."""
    elsewhere = options.profile_of(args) or any(Path("/dev").glob("nvidia[0-9]*"))
    return nullcontext({}) if elsewhere else warm.warm_process()


def _environment() -> dict[str, str]:
    """This process's, with the commands beside this Python on the path: the environment need not be activated."""
    folder, path = str(Path(sys.executable).parent), os.environ.get("PATH", "")
    return os.environ | ({} if folder in path.split(os.pathsep) else {"PATH": f"{folder}{os.pathsep}{path}"})


def _snakemake(args: argparse.Namespace) -> list[str]:
    config = [f"{name}={options.setting(args, name)}" for name in ("scale", "results", "reports")]
    if seeds := write_seeds(options.seeds_of(args)):
        config.append(f"seeds={seeds}")
    if args.record:
        config.append("record=True")
    if options.releases_of(args):
        config.append(f"releases={options.releases_of(args)}")
    program = shutil.which("snakemake", path=_environment()["PATH"])
    if program is None:
        raise SpecError("snakemake is not installed: install the project with its dependencies")
    name = options.profile_of(args)
    profile = ["--profile", name] if name else []
    cores = [] if name else ["--cores", str(args.cores)]
    hooks = ["--no-hooks"] if args.record is False else []
    return [program, *profile, *cores, *hooks, "--config", *config, "--", *(args.tables or ["reproduce_all"])]


def _failed(waiting: list[Run], log: Path, logs: Path, began: float, took: str) -> None:
    """Say which jobs failed, and show the end of the first one's log."""
    begun = [run for run in waiting if fresh(run, logs, began)]
    print(f"\nFailed after {took}; {len(waiting)} runs are not done.", file=sys.stderr)
    for run in begun:
        print(f"  failed: {run.key}\n    log: {log_of(run, logs)}", file=sys.stderr)
    shown = log_of(begun[0], logs) if begun else log
    print(f"\nThe end of {shown}:", file=sys.stderr)
    lines = shown.read_text(encoding="utf-8", errors="replace").splitlines()
    print("\n".join(f"  {line}" for line in lines[-TAIL:]), file=sys.stderr)
    if "LockException" in log.read_text(encoding="utf-8", errors="replace"):
        print(
            "\nAnother Snakemake works in this folder (called by itself, by `dvc repro` or by `mamo reproduce`): wait until it "
            "ends. If none does, one was killed: `snakemake --unlock`.",
            file=sys.stderr,
        )
    print("\nThe same command goes on with what is left.", file=sys.stderr)
