"""``mamo results``: move finished runs between machines in one small file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.cli import options
from mamo.cli.plan import KINDS
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan

if TYPE_CHECKING:
    from mamo.packs.merge import Pack

FOLDER = "packs"


def add(commands: Any) -> None:
    """Add the command with its own commands."""
    parser = commands.add_parser(
        "results",
        help="pack finished runs into one small file, and import such files",
        description="A pack holds the records of all finished runs of a scale, their results per item and "
        "their curves, without weights and data. Every page can be made from it. A pack of starting weights (--weights) "
        "holds these with all of their files, so that several machines begin from the same bytes.",
    )
    inner = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    pack = inner.add_parser("pack", help="write a scale's finished runs into one file")
    pack.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=f"default: {FOLDER}/SCALE.tar.xz; with --weights {FOLDER}/SCALE-weights.tar.xz",
    )
    pack.add_argument(
        "--site",
        metavar="NAME",
        help="a name for the site of what was made here (default: after GPU or processor)",
    )
    pack.add_argument(
        "--figures",
        action=argparse.BooleanOptionalAction,
        help="also pack the maps of drawn figures, which contain the images shown (default: only if the data are generated)",
    )
    pack.add_argument(
        "--weights",
        action="store_true",
        help="pack the starting weights alone, with all of their files, for the other machines of a study",
    )
    pack.add_argument(
        "--large", action="store_true", help="with --weights: pack more than 100 MB, too, which takes minutes"
    )
    _results_folders(pack, _pack)
    unpack = inner.add_parser(
        "unpack",
        help="import a pack into results that have no runs of its scale, or starting weights that are missing",
    )
    unpack.add_argument("file", type=Path, nargs=1, metavar="FILE")
    unpack.add_argument(
        "--scale",
        metavar="NAME",
        help="put starting weights among the results of this scale, which begins from the same (default: the pack's scale)",
    )
    _taking(unpack, "unpack")
    merge = inner.add_parser("merge", help="import packs into results that already have runs")
    merge.add_argument("file", type=Path, nargs="+", metavar="FILE")
    _taking(merge, "merge")
    merge.set_defaults(scale=None)
    sites = inner.add_parser("sites", help="show how much the results of several sites differ")
    sites.add_argument("--runs", action="store_true", help="a line for every run and metric")
    _results_folders(sites, _sites)
    forget = inner.add_parser("forget", help="put an unpacked run aside, so that it can be made again here")
    forget.add_argument("run", metavar="RUN", help=options.RUN)
    _results_folders(forget, _forget)


def _results_folders(parser: argparse.ArgumentParser, command: Any) -> None:
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=command)


def _taking(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--site", metavar="NAME", help="a name for the site of a pack that has one, in place of its own"
    )
    options.add_results(parser)
    parser.set_defaults(command=_take, what=what)


def _pack(args: argparse.Namespace) -> int:
    from mamo.packs.pack import write_pack
    from mamo.packs.sites import check_site

    plan, results = options.read_plan(args, others=True), options.results_of(args)
    if args.weights:
        return _pack_weights(args, plan, results)
    if args.large:
        raise SpecError("--large is for starting weights: add --weights")
    world = plan.scale.data.source == "world"
    figures = _current_maps(plan, results) if (world if args.figures is None else args.figures) else {}
    out = args.out or Path(FOLDER) / f"{plan.scale.name}.tar.xz"
    site = check_site(args.site) if args.site else None
    packed = write_pack(
        plan.scale.name, results, out, site, [path for path in figures.values() if path.is_file()]
    )
    for key, why in packed.left_out.items():
        print(f"left out: {why if key in why else f'{key}: {why}'}", file=sys.stderr)
    sites = sorted({name.split("/")[0] for name in packed.runs})
    size = out.stat().st_size
    print(
        f"{out}: {len(packed.runs)} runs of {', '.join(sites)}, {len(packed.figures)} figures, {size / 1e6:.2f} MB"
    )
    return 0


def _pack_weights(args: argparse.Namespace, plan: Plan, results: Path) -> int:
    from mamo.packs.sites import check_site
    from mamo.packs.weights import write_weights_pack

    if args.figures:
        raise SpecError("--figures packs maps of drawn figures, which do not go with starting weights")
    scale = plan.scale.name
    out = args.out or Path(FOLDER) / f"{scale}-weights.tar.xz"
    packed = write_weights_pack(scale, results, out, check_site(args.site) if args.site else None, args.large)
    for key, why in packed.left_out.items():
        print(f"left out: {why if key in why else f'{key}: {why}'}", file=sys.stderr)
    for run in plan.by_kind("weights"):
        if not run.record(results).is_file():
            print(f"not made yet: `mamo weights {run.id} --scale {scale} --needs` makes it", file=sys.stderr)
    weights = [name for name in packed.runs if name.split("/")[1] == "weights"]
    sites = sorted({name.split("/")[0] for name in weights})
    print(
        f"{out}: starting weights of {', '.join(sites)} with all of their files ({len(weights)} runs), records of "
        f"{len(packed.runs) - len(weights)} data runs, {out.stat().st_size / 1e6:.2f} MB"
    )
    return 0


def _take_weights(pack: Pack, results: Path, site: str | None) -> int:
    """Restore starting weights; return how many runs were refused."""
    from mamo.packs.weights import restore_weights

    restored = restore_weights(pack, results, site)
    for name, why in restored.refused.items():
        print(f"refused: {why if name in why else f'{name}: {why}'}", file=sys.stderr)
    print(
        f"{pack.path} into {results}: {len(restored.restored)} starting weights, {len(restored.there)} there already, "
        f"{len(restored.refused)} refused, records of {len(restored.records)} data runs"
    )
    return len(restored.refused)


def _take(args: argparse.Namespace) -> int:
    from mamo.packs.merge import Merged, merge_pack, read_pack
    from mamo.packs.sites import check_site, record_paths
    from mamo.specs.plan import make_plan

    site = check_site(args.site) if args.site else None
    packs = [read_pack(path) for path in args.file]  # a damaged pack is refused before anything is written
    refused = 0
    for pack in packs:
        scale = args.scale or pack.scale
        plan = make_plan(scale, options.ABLATIONS, others=True)
        results = Path(options.setting(args, "results")) / scale
        if args.scale:
            _check_scale(pack, plan)
        if pack.weights:
            refused += _take_weights(pack, results, site)
            continue
        if args.what == "unpack" and next(record_paths(results), None):
            raise SpecError(f"{results} already has runs: `mamo results merge {pack.path}` adds to them")
        maps = {name: path.name for name, path in _current_maps(plan, results).items()}
        merged: Merged = merge_pack(pack, results, site, maps)
        for name, why in merged.refused.items():
            print(f"refused: {why if name in why else f'{name}: {why}'}", file=sys.stderr)
        refused += len(merged.refused)
        print(
            f"{pack.path} into {results}: {len(merged.shown)} runs, {len(merged.apart)} beside another site's, "
            f"{len(merged.there)} there already, {len(merged.refused)} refused, {len(merged.figures)} figures"
        )
    return 1 if refused else 0


def _check_scale(pack: Pack, plan: Plan) -> None:
    """Refuse to put a pack among the results of a scale that does not begin from its weights."""
    if not pack.weights:
        raise SpecError(f"{pack.path}: --scale is for starting weights, and this pack holds results")
    others = sorted(run.key for run in pack.runs.values() if run.key not in plan.runs)
    if others:
        raise SpecError(f"{pack.path}: scale '{plan.scale.name}' does not begin from {', '.join(others)}")


def _sites(args: argparse.Namespace) -> int:
    from mamo.packs.spread import spreads, summarise

    results = options.results_of(args)
    differing = spreads(results)
    if not differing:
        print(f"{results}: no run was made by more than one site")
        return 0
    if args.runs:
        for spread in differing:
            values = ", ".join(f"{site} {value:.4g}" for site, value in spread.values.items())
            print(f"{spread.run}  {spread.metric}: {values}; apart {spread.width:.3g}")
        return 0
    print(f"{'task':22} {'metric':26} {'runs':>5} {'deviation':>10} {'widest':>8}  where")
    for line in summarise(differing):
        print(
            f"{line.group:22} {line.metric:26} {line.runs:5} {line.deviation:10.3g} {line.widest:8.3g}  {line.where}"
        )
    return 0


def _forget(args: argparse.Namespace) -> int:
    from mamo.packs.forget import forget

    plan, results = options.read_plan(args, others=True), options.results_of(args)
    for path in forget(plan.find(KINDS, args.run), results):
        print(path)
    return 0


def _current_maps(plan: Plan, results: Path) -> dict[str, Path]:
    """Map figure -> file of its current maps."""
    from mamo.reporting.figure_pages import maps_path

    return {name: maps_path(plan, name, results) for name in plan.figures}
