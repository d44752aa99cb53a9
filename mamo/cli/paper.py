"""``mamo paper``: write a scale's results as a PDF article."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mamo.cli import options

NAME = "paper.pdf"


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "paper",
        help="write a PDF article: a replication report",
        description="Write a scale's results as a PDF article: method in brief, settings, deviations, tables beside the "
        "paper's numbers, figures, verdicts on the paper's claims, cost and provenance, each number linked to its run. It "
        "shows what there is: values of runs without a record are missing, and so are figures that are not drawn.",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help=f"the PDF (default: {NAME} in the scale's reports)"
    )
    options.add_any_code(parser)
    options.add_folders(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.reporting.article.build import ArticleError, write_article
    from mamo.reporting.article.content import content
    from mamo.reporting.claims import judge
    from mamo.reporting.collect import collect
    from mamo.reporting.pages import CLAIMS, pages_of
    from mamo.reporting.provenance import check_code
    from mamo.specs.overrides import SpecError

    plan = options.read_plan(args)
    results, reports = options.results_of(args), options.reports_of(args)
    out = args.out or reports / NAME
    if out.suffix.lower() != ".pdf":
        raise SpecError(f"--out {out}: the article is a PDF; name a file that ends with .pdf")
    check_code(plan, plan.whole, results, options.setting(args, "any_code"))
    values = {name: collect(plan, table, results) for name, table in plan.tables.items()}
    with_claims = CLAIMS in pages_of(plan, options.ABLATIONS)
    claims = judge(plan, results, options.ABLATIONS)["claims"] if with_claims else []
    article = content(plan, values, claims, results, reports, options.ABLATIONS)
    try:
        write_article(article, reports, out)
    except ArticleError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    lacking = [f"{len(article['missing'])} runs have no record yet"] if article["missing"] else []
    lacking += [f"{len(article['undrawn'])} figures are not drawn yet"] if article["undrawn"] else []
    print(f"{out} ({', '.join(lacking)})" if lacking else out)
    return 0
