"""``mamo figure``: Grad-CAM figures from trained models, as the paper shows them or with images of your own choice."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.cli import options

if TYPE_CHECKING:
    from mamo.specs.plan import Plan

PHOTOS = "photos"  # the model of the package that knows photographs


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "figure",
        help="draw a Grad-CAM figure from trained models",
        description="Draw one of the figures that trained models draw (ablations/figures), from the runs' weights. Without "
        "options it is published below reports; with --image, --text or --weights, other examples or another model are drawn "
        "into --out.",
    )
    parser.add_argument("name", metavar="FIGURE", help="e.g. figure1")
    parser.add_argument(
        "--image",
        nargs="+",
        default=[],
        metavar="FILE|KEY",
        help="photos of your own, or keys of the figure's data set, to show instead of the drawn images",
    )
    parser.add_argument(
        "--text",
        nargs="+",
        default=[],
        metavar="TEXT",
        help="a caption, expression or question of your own: one for all images, or one for each",
    )
    parser.add_argument(
        "--weights",
        metavar="MODEL",
        help="show this model instead: a run of the scale, an exported folder, a model of the package or of a hub (default: "
        "the figure's own; of photos of your own, the package's model 'photos' says where words look, unless the scale is of "
        "photographs and its models are made)",
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
    from mamo.reporting.figure_pages import figure_heading
    from mamo.specs.overrides import SpecError

    if args.image and args.out and not options.ABLATIONS.is_dir():
        return _without_a_project(args)
    plan = options.read_plan(args)
    options.check_name(args.name, plan.figures, f"scale '{plan.scale.name}' has no figure")
    if (args.image or args.text or args.weights) and not (args.out or args.collect):
        raise SpecError(
            "--image, --text and --weights want --out FILE.png: the published figure stays as its file says"
        )
    from mamo.drawing.draw import draw_figure
    from mamo.figures.publish import publish_figure, read_maps, write_maps
    from mamo.reporting.provenance import check_code

    if args.values:
        values = read_maps(args.values)
    else:
        from mamo.data.store.records import PreparedError
        from mamo.figures.maps import compute_figure
        from mamo.published.load import LoadError
        from mamo.runs.run import RunError

        try:
            values = compute_figure(
                plan, args.name, options.results_of(args), args.image, args.text, _weights(args, plan)
            )
        except (RunError, PreparedError) as error:
            print(f"mamo: {error}", file=sys.stderr)
            print(
                f"  `mamo reproduce --scale {plan.scale.name} {args.name}` makes all that the figure needs; `mamo figure "
                f'{args.name} --image FILE --text "..." --out FILE` shows a photo of your own',
                file=sys.stderr,
            )
            return 1
        except LoadError as error:
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


def _weights(args: argparse.Namespace, plan: Plan | None = None) -> str | None:
    """Choose the model: the one that is named; of photos of one's own the package's, since models of scenes know none."""
    from mamo.published.load import bundled

    own = any(Path(image).is_file() for image in args.image)
    if args.weights or not own or PHOTOS not in bundled():
        return args.weights
    if plan is not None:
        bound, results = plan.figures[args.name], options.results_of(args)
        made = any(plan.runs[key].record(results).is_file() for key in bound.models.values())
        if bound.figure.method not in ("words", "grounding") or made and plan.scale.data.source == "release":
            return None
    return PHOTOS


def _without_a_project(args: argparse.Namespace) -> int:
    """Draw maps over the user's photos with a model of the package, outside of a project folder."""
    from mamo.drawing.draw import draw_figure
    from mamo.figures.own import maps_without_project
    from mamo.published.load import LoadError

    try:
        values = maps_without_project(args.name, args.image, args.text, _weights(args))
    except LoadError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    draw_figure(values, values["title"], args.out)
    print("\n".join(map(str, args.out)))
    return 0
