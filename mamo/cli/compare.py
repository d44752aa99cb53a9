"""``mamo compare``: our numbers beside the paper's, or each row beside the base row."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.cli import options

if TYPE_CHECKING:
    from mamo.reporting.values import TableValues
    from mamo.specs.plan import TablePlan


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "compare",
        help="print our numbers beside the paper's, or each row beside the base row",
        description="Print, from the records that exist, each row's difference from its table's base row with its 95 % "
        "interval; or, with --reported, ours, the paper's and the difference for every cell.",
    )
    parser.add_argument("tables", nargs="*", metavar="TABLE", help="e.g. table5; none: all of the scale")
    parser.add_argument("--reported", action="store_true", help="beside the numbers that the paper reports")
    parser.add_argument(
        "--edition", default="arxiv", metavar="NAME", help="a folder of ablations/paper (default: arxiv)"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="FILE", help="with --reported: write the cells to FILE too"
    )
    options.add_json(parser)
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.reporting.collect import collect
    from mamo.reporting.reported import CELL, cell_lines, reported_cells

    plan, results = options.read_plan(args, args.tables), options.results_of(args)
    every, compared = [], []
    for table in plan.tables.values():
        values = collect(plan, table, results)
        if args.reported:
            cells = reported_cells(table, values, options.ABLATIONS, args.edition)
            every += [asdict(cell) for cell in cells]
        if args.json:
            shown = {"cells": [asdict(cell) for cell in cells]} if args.reported else _differences(values)
            title = {"table": table.ablation.name, "title": table.ablation.title}
            compared.append(title | {"base": table.ablation.base_row} | shown | {"missing": values.missing})
        elif args.reported:
            print("\n".join(cell_lines(table, cells, options.ABLATIONS, args.edition)) + "\n")
        else:
            print("\n".join(_against_base(table, values)) + "\n")
    if args.json:
        options.print_json({"scale": plan.scale.name, "reported": args.reported, "tables": compared})
    if args.csv:
        import pandas as pd

        pd.DataFrame(every, columns=list(CELL)).to_csv(args.csv, index=False)
    return 0


def _differences(values: TableValues) -> dict[str, Any]:
    """Return each row's differences from the base row as plain values."""
    return {"differences": [line.as_json() for line in values.compared]}


def _against_base(table: TablePlan, values: TableValues) -> list[str]:
    from mamo.reporting.differences import base_label, make_differences

    gaps = make_differences(table.ablation, values, None)
    lines = [f"{table.ablation.name}: {table.ablation.title}"]
    if gaps is None:
        return [*lines, "  nothing to compare: no record has results per item or several seeds"]
    lines.append(f"  difference from {base_label(table.ablation)}; ≈: the 95 % interval includes 0")
    for line in gaps.ours:
        lines.append(f"  {line.label}")
        lines += [f"    {h.text:24} {text}" for h, text in zip(gaps.headings, line.texts, strict=True)]
    return lines
