"""``mamo figure``: Grad-CAM figures from trained models, as the paper shows them or with images of your own choice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mamo.cli import options


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "figure",
        help="draw a Grad-CAM figure from trained models",
        description="Draw one of the figures that trained models draw (ablations/figures), from the runs' weights. Without "
        "options it is published below reports; with --image or --text, other examples are drawn into --out.",
    )
    parser.add_argument("name", metavar="FIGURE", help="e.g. figure1")
    parser.add_argument(
        "--image",
        nargs="+",
        default=[],
        metavar="KEY",
        help="keys of images to show instead of the drawn ones",
    )
    parser.add_argument(
        "--text", metavar="TEXT", help="a caption, expression or question of your own for them"
    )
    parser.add_argument(
        "--out",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="draw into these files (png, svg, pdf), publish nothing",
    )
    parser.add_argument("--collect", type=Path, metavar="FILE", help="write the maps to FILE, draw nothing")
    parser.add_argument(
        "--values", type=Path, metavar="FILE", help="take the maps from FILE, not from models"
    )
    options.add_any_code(parser)
    options.add_folders(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.figures.pages import figure_heading
    from mamo.specs.overrides import SpecError

    plan = options.planned(args)
    options.check_name(args.name, plan.figures, f"scale '{plan.scale.name}' has no figure")
    if (args.image or args.text) and not (args.out or args.collect):
        raise SpecError("--image and --text want --out FILE.png: the published figure stays as its file says")
    from mamo.figures.draw import draw_figure
    from mamo.figures.publish import publish_figure
    from mamo.figures.store import read_maps, write_maps
    from mamo.reporting.provenance import check_code

    if args.values:
        values = read_maps(args.values)
    else:
        from mamo.figures.maps import compute_figure
        from mamo.training.run import RunError

        try:
            values = compute_figure(plan, args.name, options.results_of(args), args.image, args.text)
        except RunError as error:
            print(f"mamo: {error}", file=sys.stderr)
            return 1
    if args.collect:
        write_maps(values, args.collect)
        return 0
    if args.out:
        draw_figure(values, figure_heading(plan.figures[args.name].figure), args.out)
        print("\n".join(map(str, args.out)))
        return 0
    check_code(
        plan, plan.figures[args.name].inputs, options.results_of(args), options.setting(args, "any_code")
    )
    print(publish_figure(plan, args.name, values, options.reports_of(args), options.ABLATIONS))
    return 0
