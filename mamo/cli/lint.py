"""``mamo dev lint``: what the rows of ablation files change against their base row."""

from __future__ import annotations

import argparse
from typing import Any

from mamo.cli import options


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "lint",
        help="show what each row of an ablation changes",
        description="Print each row's label and the settings in which its pre-training differs from the base row's, old "
        "and new value. Status 1 if two rows of a table are the same run.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="e.g. table5; none: all of the scale")
    options.add_scale(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.specs.lint import row_changes, twins

    plan, alike = options.read_plan(args, args.tables), False
    for name, table in plan.tables.items():
        labels, same = {row.key: row.label for row in table.ablation.rows}, dict(twins(table))
        for row, lines in row_changes(plan, table).items():
            print(f"{name}: {labels[row]}")
            print("\n".join(f"    {line}" for line in lines) or "    (as the base row)")
            if row in same:
                print(f"    is the same run as row '{same[row]}'")
                alike = True
    return 1 if alike else 0
