"""The ``mamo`` command and its sub-commands, one module each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mamo.cli import (
    compare,
    completion,
    dev,
    diff,
    doctor,
    dvc,
    evaluate,
    execute,
    explain,
    export,
    extras,
    figure,
    paper,
    plan,
    report,
    reproduce,
    results,
    site,
    status,
    warm,
)
from mamo.cli.parsing import Parser, Version
from mamo.files.stored import StoredError
from mamo.specs.overrides import SpecError
from mamo.training.interruption import Interrupted, end_with_the_workflow

COMMANDS = (
    *(reproduce, plan, status, explain, diff, compare, results),
    *(execute, evaluate, export, report, figure, site, paper, dvc, doctor, completion, dev),
)


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line."""
    top = Parser(
        prog="mamo",
        description="Reproduce the MAMO paper's tables and figures, and ablate the method, at a scale of your choice.",
        epilog="Start with 'mamo plan' (what a scale trains), then 'mamo reproduce'. Defaults stand in params.yaml.",
    )
    top.add_argument(
        "--version", action=Version, help="print the versions of package, code, PyTorch and Python"
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND")
    for module in COMMANDS:
        module.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0, 1 for a failure that was reported, 2 for a wrong name or setting, 75 for a run that was asked to
        stop, 128 and the signal's number for any other command.
    """
    argv = sys.argv[1:] if argv is None else argv
    end_with_the_workflow()
    handed = warm.hand_over(argv)
    if handed is not None:
        return handed
    top = parser()
    args = top.parse_args(argv)
    if not hasattr(args, "command"):
        top.print_help()
        return 0
    args.argv = list(argv)  # for commands that start themselves again, once per rank
    try:
        return int(args.command(args) or 0)
    except SpecError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 2
    except StoredError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        lacking = extras.advice(error)
        if lacking is None:
            raise
        print(f"mamo: {lacking}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has closed it, as in `mamo plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full or read-only disk
        from mamo.runs.faults import describe_fault

        cause = describe_fault(error)
        if cause is None:
            raise
        print(f"mamo: {cause}", file=sys.stderr)
        return 1
    except Interrupted:
        if int(os.environ.get("RANK", 0)) == 0:
            print(
                "mamo: asked to stop; the state is saved, and the same command resumes from it",
                file=sys.stderr,
            )
        raise
    except KeyboardInterrupt:
        print("mamo: interrupted; the same command resumes from here", file=sys.stderr)
        return 130
