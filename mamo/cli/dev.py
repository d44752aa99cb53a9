"""``mamo dev``: commands for developers of the workbench."""

from __future__ import annotations

import argparse
from typing import Any

from mamo.cli import bench, commands, deviations, dvc, licences, lint, schema
from mamo.cli.parsing import Hidden

MODULES = (lint, schema, bench, dvc, deviations, licences, commands)
OLD = (
    lint,
    schema,
    bench,
    deviations,
    licences,
)  # formerly top-level commands; scripts may still use the old spelling


def add(commands: Any) -> None:
    """Add the command with its own commands, and their old spellings."""
    parser = commands.add_parser(
        "dev",
        help="commands for work on the workbench itself: lint, schema, bench, dvc, generated pages",
        description="Commands for work on the workbench itself: checks of its files, generated pages, timing.",
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND")
    for module in MODULES:
        module.add(inner)
    for module in OLD:
        module.add(Hidden(commands))

    def show(args: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(command=show)
