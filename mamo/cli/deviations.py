"""``mamo dev deviations``: the settings in docs/deviations.md, from the specs."""

from __future__ import annotations

import argparse
import sys
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
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the page is not up to date"
    )
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    options.check_project()
    shown = PAGE.read_text(encoding="utf-8")
    text = f"{shown.partition(GENERATED)[0]}{settings_tables(read_scale(SCALE, options.ABLATIONS))}\n"
    if not args.check:
        PAGE.write_text(text, encoding="utf-8")
    elif text != shown:
        print(f"{PAGE} is not what the specs make: call `mamo dev deviations`", file=sys.stderr)
        return 1
    return 0
