"""``mamo site``: write all results of a scale into one page, ``index.html``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mamo.cli import options


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "site",
        help="write the page with everything: index.html",
        description="Write reports/SCALE/index.html: tables beside the paper's numbers, figures, curves, cost and provenance "
        "of every run, and Grad-CAM to explore word by word. One file that opens without a network. It shows what there is: "
        "values of runs without a record are missing, and figures that are not drawn are left out.",
    )
    parser.add_argument(
        "--values", type=Path, nargs="*", metavar="FILE", help="values of tables, from mamo report"
    )
    parser.add_argument(
        "--maps", type=Path, nargs="*", metavar="FILE", help="maps of figures, from mamo figure"
    )
    options.add_any_code(parser)
    options.add_folders(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.figures.publish import read_maps
    from mamo.reporting.claims import judge
    from mamo.reporting.collect import collect, read_values
    from mamo.reporting.figure_pages import maps_path
    from mamo.reporting.pages import CLAIMS, INDEX, pages_of
    from mamo.reporting.provenance import check_code
    from mamo.reporting.site.build import write_site

    plan = options.read_plan(args)
    pages = pages_of(plan, options.ABLATIONS)
    results, reports = options.results_of(args), options.reports_of(args)
    check_code(plan, plan.whole, results, options.setting(args, "any_code"))
    given, claims = read_values(args.values or ())
    values = {
        name: given.get(name) or collect(plan, table, results, options.ABLATIONS)
        for name, table in plan.tables.items()
    }
    if CLAIMS in pages:
        claims = claims or judge(plan, results, options.ABLATIONS)
    paths = args.maps or [path for name in plan.figures if (path := maps_path(plan, name, results)).is_file()]
    maps = {drawn["figure"]: drawn for drawn in map(read_maps, paths)}
    path = write_site(plan, values, claims, maps, pages[INDEX], results, reports, options.ABLATIONS)
    missing = {run for table in values.values() for run in table.missing}
    print(f"{path}{f' ({len(missing)} runs have no record yet)' if missing else ''}")
    return 0
