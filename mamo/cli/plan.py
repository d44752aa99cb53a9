"""``mamo plan``: what a scale trains, and what its tables share."""

from __future__ import annotations

import argparse
from collections import Counter
from typing import Any

from mamo.cli import options
from mamo.specs.identity import Kind
from mamo.specs.plan import Plan

KINDS: tuple[Kind, ...] = ("data", "weights", "pretrain", "finetune")


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plan",
        help="show the runs that tables need, and what sharing saves",
        description="Show the distinct runs of a scale, or of some of its tables, and which tables read each of them.",
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help="e.g. table5 figure6; none: all of the scale"
    )
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.planned(args, args.tables)
    results = options.results_of(args)
    readers = readers_of(plan)
    print(f"Scale {plan.scale.name}: {plan.scale.title}\nCost of the whole scale: {plan.scale.cost}\n")
    for kind in KINDS:
        for run in plan.by_kind(kind):
            state = "done" if run.record(results).is_file() else "to do"
            print(f"{kind:9} {state:6} {run.id:72} {' '.join(readers[run.key])}".rstrip())
    print()
    for name, table in plan.tables.items():
        print(f"{name}: {' '.join(table.ablation.cost.split())}")
    print(f"\n{sharing(plan)}")
    return 0


def readers_of(plan: Plan) -> dict[str, list[str]]:
    """Run key -> the tables that read it, directly or through other runs."""
    readers: dict[str, list[str]] = {key: [] for key in plan.runs}
    for name, table in plan.tables.items():
        for key in plan.closure(table.inputs):
            readers[key].append(name)
    return readers


def sharing(plan: Plan) -> str:
    """One sentence on the distinct runs and on what sharing saves."""
    count = Counter(run.kind for run in plan.runs.values())
    parts = [f"{count[kind]} {words}" for kind, words in _WORDS.items() if count[kind]]
    saved = plan.requested - len(plan.runs)
    return f"{len(plan.runs)} distinct runs ({', '.join(parts)}); without sharing {plan.requested}: {saved} saved."


_WORDS: dict[Kind, str] = {
    "data": "data",
    "weights": "starting weights",
    "pretrain": "pre-trainings",
    "finetune": "downstream",
}
