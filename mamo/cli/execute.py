"""``mamo prepare``, ``weights``, ``pretrain`` and ``finetune``: execute one run, or list those of the kind."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import Any

from mamo.cli import options
from mamo.files.record import Record
from mamo.specs.cluster import why_indivisible
from mamo.specs.identity import Kind, Run
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan

KINDS: dict[str, tuple[Kind, str]] = {
    "prepare": ("data", "write the embedded world, or a data set in the form that training reads"),
    "weights": ("weights", "fetch or train starting weights"),
    "pretrain": ("pretrain", "pre-train one model, or resume it"),
    "finetune": ("finetune", "fine-tune a pre-trained model on a downstream job and evaluate it"),
}

# Kinds that several processes can execute together.
LAUNCHED = ("pretrain", "finetune")


def add(commands: Any) -> None:
    """Add the four commands."""
    for command, (kind, words) in KINDS.items():
        parser = commands.add_parser(command, help=words, description=f"{words[0].upper()}{words[1:]}.")
        several = kind not in LAUNCHED
        parser.add_argument(
            "run",
            nargs="*" if several else "?",
            metavar="RUN",
            help=f"a run's name, its identity or the start of it{' (several: one after another)' if several else ''}; none: "
            "list them",
        )
        parser.add_argument(
            "--needs", action="store_true", help="execute whatever the run needs first, where it is missing"
        )
        options.add_scale(parser)
        options.add_results(parser)
        options.add_releases(parser)
        if command in ("pretrain", "finetune"):
            options.add_execution(parser)
        if command == "prepare":
            parser.add_argument(
                "--part",
                metavar="K/N",
                help="only part K of the N into which a large release is cut, so that many jobs prepare it; a call without "
                "it makes the parts that are missing and puts all together",
            )
            parser.add_argument(
                "--threads", type=int, default=1, metavar="N", help="threads that decode images (default: 1)"
            )
        parser.add_argument(
            "--wait",
            action="store_true",
            help="if another process is making the run, wait for it instead of refusing",
        )
        if kind in LAUNCHED:
            _add_ranks(parser)
        parser.set_defaults(command=partial(_command, kind))


def _add_ranks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--processes",
        type=int,
        default=1,
        metavar="N",
        help="processes on each node, one for each GPU (torchrun)",
    )
    parser.add_argument(
        "--nodes", type=int, default=1, metavar="N", help="nodes of the SLURM job in which this runs (srun)"
    )
    parser.add_argument("--cpus", type=int, metavar="N", help="cores of each node, where --nodes is given")


def _command(kind: Kind, args: argparse.Namespace) -> int:
    names = args.run if isinstance(args.run, list) else [args.run] if args.run is not None else []
    plan = options.read_plan(args, others=bool(names))
    if not names:
        _list(plan, kind, args)
        return 0
    # Look all names up before anything is made, so that a typo does not end hours of work.
    runs = {run.key: run for run in (plan.find(kind, name) for name in names)}
    if len(runs) > 1 and getattr(args, "part", None):
        raise SpecError(f"--part {args.part}: name one data set, not {len(runs)}")
    # One that fails does not stop the others.
    return max([_one(plan, run, kind, args) for run in runs.values()])


def _one(plan: Plan, run: Run, kind: Kind, args: argparse.Namespace) -> int:
    from mamo.runs.execute import complete_inputs, execute, execute_part
    from mamo.runs.run import Options, RunError

    results, releases = options.results_of(args), options.releases_of(args)
    if kind in ("pretrain", "finetune"):
        how = Options(**options.execution_of(args))
    else:
        how = Options(threads=getattr(args, "threads", 1))
    try:
        if getattr(args, "part", None):
            part, parts = _parse_part(args.part)
            account = execute_part(plan, run, part, parts, results, releases, how, args.wait)
            print(f"{run.key}, part {args.part}: {account['images']} images")
            return 0
        for missing in _missing(plan, run, args) if args.needs else ():
            _print_result(missing, execute(plan, missing, results, releases, how, wait=args.wait))
        if kind in LAUNCHED and args.processes * args.nodes > 1 and "WORLD_SIZE" not in os.environ:
            from mamo.runs.launch import launch

            if not run.record(results).is_file():
                problem = why_indivisible(run, args.processes * args.nodes)
                if problem:  # every rank would refuse once it has started
                    raise SpecError(problem)
                complete_inputs(plan, run, results, releases, how)
            return launch(args.argv, run.directory(results), args.processes, args.nodes, args.cpus, args.wait)
        record = execute(plan, run, results, releases, how, wait=args.wait)
        if int(os.environ.get("RANK", 0)) == 0:
            _print_result(run, record)
    except RunError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    return 0


def _parse_part(text: str) -> tuple[int, int]:
    """Parse ``3/16`` -> (2, 16): people count from 1."""
    part, slash, parts = text.partition("/")
    if not (slash and part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
        raise SpecError(f"--part {text}: give K/N with K from 1 to N, e.g. 3/16")
    return int(part) - 1, int(parts)


def _missing(plan: Plan, run: Run, args: argparse.Namespace) -> list[Run]:
    """List the runs that this one needs and that have no record yet, in an order in which they can be executed."""
    needed = plan.closure([run.key]) - {run.key}
    results = options.results_of(args)
    # The plan lists a run after its inputs, so its own order works.
    return [
        other for key, other in plan.runs.items() if key in needed and not other.record(results).is_file()
    ]


def _list(plan: Plan, kind: Kind, args: argparse.Namespace) -> None:
    results = options.results_of(args)
    for run in plan.by_kind(kind):
        print(f"{'done' if run.record(results).is_file() else 'to do':6} {run.id}")


def _print_result(run: Run, record: Record) -> None:
    outcome, details = record.outcome, record.details
    print(f"{run.key}: {outcome.status}{f' ({outcome.reason})' if outcome.reason else ''}")
    for check in record.warnings:
        print(f"  WARNING: {check.name}: {check.says}")
    if "of_the_paper" in details:
        got = details["of_the_paper"]
        print(f"  {got['images']:,} of the paper's {got['paper']:,} training images ({got['share']:.1%})")
    for name, count in details.get("overlap", {}).items():
        known = "could not be found out, see overlap.json" if count is None else f"{count:,}"
        print(f"  training images that are also in {name}: {known}")
    for name, value in record.metrics.items():
        print(f"  {name:28} {value:.4g}")
