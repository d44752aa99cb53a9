"""``mamo export``: a trained model as a folder that can be published and loaded elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.specs.identity import Run
from mamo.specs.plan import Plan


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write a trained model to a folder that can be published",
        description="Write a trained model's weights, config, tokenizer and model card to a folder, as model hubs keep them. "
        "`mamo.load(FOLDER)` reads it in Python.",
    )
    parser.add_argument("run", metavar="RUN", help=options.RUN)
    parser.add_argument("out", type=Path, metavar="FOLDER", help="a new folder")
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.planned(args, others=True)
    run = _find(plan, args.run)
    if options.not_made(plan, run, options.results_of(args)):
        return 1
    from mamo.published.export import export
    from mamo.training.run import RunError

    try:
        export(plan, run, options.results_of(args), args.out)
    except RunError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    print(f'{args.out}: {run.id}\n  in Python: import mamo; mamo.load("{args.out}")')
    return 0


def _find(plan: Plan, name: str) -> Run:
    """A pre-training or a fine-tuning."""
    return plan.find(("pretrain", "finetune"), name)
