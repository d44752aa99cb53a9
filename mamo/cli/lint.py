"""``mamo dev lint``: check that the rows of ablation files change what their labels say, and nothing else."""

from __future__ import annotations

import argparse
from typing import Any

from mamo.cli import options


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "lint",
        help="say where a row differs from its base in more than its label claims",
        description="Compare each row's resolved spec with its base row's, and say which differences the row's label does not "
        "claim. Status 1 if there are any.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="e.g. table5; none: all of the scale")
    options.add_scale(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.specs.lint import findings

    found = findings(options.planned(args, args.tables))
    for line in found:
        print(line)
    return 1 if found else 0
