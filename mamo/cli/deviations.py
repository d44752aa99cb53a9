"""``mamo dev deviations``: the settings in docs/deviations.md, from the specs."""

from __future__ import annotations

import argparse
from typing import Any

from mamo.cli import options
from mamo.ledgers.deviations import GENERATED, PAGE, settings_tables
from mamo.specs.scale import read_scale

SCALE = "paper"


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "deviations",
        help="write the page on what the paper leaves open",
        description=f"Write the settings in {PAGE}: where each comes from and where it acts, as the specs say, with its value "
        f"at scale {SCALE}. What stands above them is written by hand.",
    )
    options.add_check(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    options.check_project()
    shown = PAGE.read_text(encoding="utf-8")
    text = f"{shown.partition(GENERATED)[0]}{settings_tables(read_scale(SCALE, options.ABLATIONS))}\n"
    return options.generated(PAGE, text, args, "mamo dev deviations")
