"""``mamo export``: a trained model as a folder that can be published and loaded elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.specs.overrides import SpecError


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write a trained model to a folder that can be published",
        description="Write a trained model to a folder, as model hubs keep them: weights, config, tokenizer, processor, model "
        "card, and the code that transformers' AutoModel and AutoProcessor load. `mamo.load(FOLDER)` reads it in Python.",
    )
    parser.add_argument("run", metavar="RUN", help=options.RUN)
    parser.add_argument("out", metavar="FOLDER", help="a new folder")
    parser.add_argument(
        "--half", action="store_true", help="store the weights in half precision: half the bytes"
    )
    parser.add_argument("--push", metavar="USER/NAME", help="also upload the folder to the Hugging Face hub")
    parser.add_argument(
        "--bundle",
        action="store_true",
        help="take FOLDER as a name: write the model into this package in half precision, for `mamo.load(NAME)`, replacing "
        "an older one of this name",
    )
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:

    if args.bundle and args.push:
        raise SpecError("--bundle writes into the package, --push uploads a folder: choose one of them")
    plan = options.read_plan(args, others=True)
    run = plan.find_trained(args.run)
    if options.not_made(plan, run, options.results_of(args)):
        return 1
    from mamo.published.export import bundle, export
    from mamo.published.load import LoadError, bundle_folder
    from mamo.published.push import check_repository_name, push
    from mamo.runs.run import RunError

    results = options.results_of(args)
    try:
        if args.bundle:
            folder = bundle_folder(args.out)
            bundle(plan, run, results, folder)
            print(f'{folder}: {run.id}\n  in Python: import mamo; mamo.load("{args.out}")')
            return 0
        if args.push:
            check_repository_name(args.push)
        export(plan, run, results, Path(args.out), args.half)
        print(f'{args.out}: {run.id}\n  in Python: import mamo; mamo.load("{args.out}")')
        if args.push:
            print(push(Path(args.out), args.push))
    except (RunError, LoadError) as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    return 0
