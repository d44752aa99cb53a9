"""``mamo report``: write tables, figures and pages from the runs' records."""

from __future__ import annotations

import argparse
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.cli import options
from mamo.specs.overrides import SpecError

if TYPE_CHECKING:
    from mamo.reporting.values import TableValues


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "report",
        help="write tables and figures from the records that exist",
        description="Write the tables and curves of a scale from the records that exist; values of runs that have none are "
        "shown as missing. Figures that models draw: mamo figure; the page with everything: mamo site.",
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="e.g. table5 figure6 overview; none: all")
    parser.add_argument(
        "--collect",
        type=Path,
        metavar="FILE",
        help="write the values of the one named page to FILE, and no page",
    )
    parser.add_argument(
        "--values",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="read values from these files, not from records",
    )
    options.add_any_code(parser)
    options.add_folders(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.reporting.claims import judge
    from mamo.reporting.collect import collect, read_values, write_values
    from mamo.reporting.ledger import write_ledger
    from mamo.reporting.overview import write_overview
    from mamo.reporting.pages import CLAIMS, INDEX, OVERVIEW, page_inputs, pages_of
    from mamo.reporting.provenance import check_code
    from mamo.reporting.publish import publish
    from mamo.reporting.tracked import write_curves

    plan = options.read_plan(args, others=True)
    tables = plan.tables | plan.others
    pages = pages_of(plan, options.ABLATIONS)
    results, reports = options.results_of(args), options.reports_of(args)
    whole = [name for name, page in pages.items() if page.listed]
    requested = args.pages or whole
    drawn = [name for name in requested if name in plan.figures]
    if drawn and args.pages:
        raise SpecError(
            f"{drawn[0]} is drawn by trained models: `mamo figure {drawn[0]} --scale {plan.scale.name}`"
        )
    requested = [name for name in requested if name not in drawn and name != INDEX]
    for name in requested:
        options.check_name(name, pages, f"scale '{plan.scale.name}' has no page")

    given, claims = read_values(args.values or ())

    def gather(name: str) -> TableValues:
        return given.get(name) or collect(plan, tables[name], results, options.ABLATIONS)

    if args.collect:
        if len(args.pages) != 1 or args.pages[0] == OVERVIEW:
            raise SpecError("--collect takes exactly one table or figure, or the claims")
        name = args.pages[0]
        if name == CLAIMS:
            claims = judge(plan, results, options.ABLATIONS)
            _require_all(claims["missing"])
            write_values(claims, args.collect)
        else:
            values = gather(name)
            _require_all(values.missing)
            made_from = page_inputs(plan, tables[name], options.ABLATIONS)
            write_values(values.model_copy(update={"made_from": made_from}), args.collect)
        return 0
    shown = {
        key
        for name in ([*requested, *whole] if OVERVIEW in requested else requested)
        for key in pages[name].inputs
    }
    check_code(plan, shown, results, options.setting(args, "any_code"))
    names = [
        name
        for name in dict.fromkeys([*requested, *(whole if OVERVIEW in requested else ())])
        if name not in (OVERVIEW, INDEX) and name not in plan.figures
    ]
    collected = {name: gather(name) for name in names if name != CLAIMS}
    missing = {name: set(values.missing) for name, values in collected.items()}
    verdicts: dict[str, Any] = {"claims": []}
    if CLAIMS in names:
        verdicts = claims or judge(plan, results, options.ABLATIONS)
        missing[CLAIMS] = set(verdicts["missing"])
    for name in requested:
        page = pages[name]
        if name == OVERVIEW:
            write_curves(plan, results, reports)
            write_overview(plan, collected, verdicts["claims"], page, reports, options.ABLATIONS)
        elif name == CLAIMS:
            write_ledger(plan.scale, verdicts, page, reports)
        else:
            publish(plan, tables[name], collected[name], page, reports, options.ABLATIONS)
        lacking = {run for other in (names if name == OVERVIEW else [name]) for run in missing[other]}
        gaps = f" ({len(lacking)} runs have no record yet)" if lacking else ""
        print(f"{reports / page.files[0]}{gaps}")
    return 0


def _require_all(missing: Collection[str]) -> None:
    """Refuse to keep values that are not complete."""
    if missing:
        raise SpecError("these runs have no record yet:\n  " + "\n  ".join(missing))
