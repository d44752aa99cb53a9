"""``mamo diff``: show how two executed runs differ."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.cli.plan import KINDS
from mamo.specs.identity import Run
from mamo.specs.names import find_key
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="show how two executed runs differ",
        description="Show how two executed runs of a scale differ: settings, inputs, code, machine, time and metrics. They "
        "need not be planned any more.",
    )
    parser.add_argument("one", metavar="RUN", help=options.RUN)
    parser.add_argument("other", metavar="RUN", help="another one")
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.reporting.provenance import run_differences

    plan, results = options.read_plan(args, others=True), options.results_of(args)
    names = {f"{path.parts[-3]}/{path.parts[-2]}": _name(path) for path in results.glob("*/*/record.json")}
    keys = []
    for name in (args.one, args.other):
        try:
            keys.append(find_key(name, names, f"run with a record in {results}", first=plan.runs))
        except SpecError as error:
            run = _find_planned(plan, name)
            if run is None or not options.not_made(plan, run, results):
                raise error from None
            return 1
    print("\n".join(run_differences(results, *keys)))
    return 0


def _name(record: Path) -> str:
    """Return an executed run's name: its id without the digest."""
    return record.parts[-2].rpartition("-")[0]


def _find_planned(plan: Plan, name: str) -> Run | None:
    """Find the planned run that a name stands for."""
    try:
        return plan.find(KINDS, name)
    except SpecError:
        return None
