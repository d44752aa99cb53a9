"""``mamo evaluate``: measure an executed downstream run's metrics again, from its weights."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from mamo.cli import options


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        help="evaluate a fine-tuned model again",
        description="Evaluate the weights of an executed fine-tuning again on its test splits. Writes nothing.",
    )
    parser.add_argument("run", metavar="RUN", help=options.RUN)
    options.add_scale(parser)
    options.add_results(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    plan = options.read_plan(args, others=True)
    run = plan.find("finetune", args.run)
    if options.not_made(plan, run, options.results_of(args)):
        return 1
    from mamo.runs.execute import evaluate
    from mamo.runs.run import RunError

    try:
        metrics = evaluate(plan, run, options.results_of(args))
    except RunError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    for name, value in metrics.items():
        print(f"{name:28} {value:.4g}")
    return 0
