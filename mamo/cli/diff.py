"""``mamo diff``: what sets two executed runs apart."""

from __future__ import annotations

import argparse
from typing import Any

from mamo.cli import options


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "diff",
        help="show what sets two executed runs apart",
        description="Show in what two executed runs of a scale differ: settings, inputs, code, machine, time and metrics. They "
        "need not be planned any more.",
    )
    parser.add_argument("one", metavar="RUN", help="a run's identity, kind/identity or the start of one")
    parser.add_argument("other", metavar="RUN", help="another one")
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.reporting.provenance import differences, find_run

    results = options.results_of(args)
    print("\n".join(differences(results, find_run(results, args.one), find_run(results, args.other))))
    return 0
