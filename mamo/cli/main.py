"""The ``mamo`` command and its sub-commands, one module each."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from mamo.cli import (
    bench,
    compare,
    deviations,
    diff,
    doctor,
    dvc,
    evaluate,
    execute,
    explain,
    export,
    figure,
    licences,
    lint,
    paper,
    plan,
    report,
    reproduce,
    schema,
    site,
    status,
    warm,
)
from mamo.specs.overrides import SpecError
from mamo.specs.stored import StoredError

COMMANDS = (
    *(reproduce, plan, status, explain, diff, compare, lint),
    *(execute, evaluate, export, report, figure, site, paper),
    *(schema, deviations, licences, dvc, doctor, bench),
)


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = argparse.ArgumentParser(
        prog="mamo",
        description="Reproduce the MAMO paper's tables and figures, and ablate the method, at a scale of your choice.",
        epilog="Start with 'mamo plan' (what a scale trains), then 'mamo reproduce'. Defaults stand in params.yaml.",
    )
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add(commands)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0, 1 for a failure that was reported, 2 for a wrong name or setting.
    """
    argv = sys.argv[1:] if argv is None else argv
    handed = warm.hand_over(argv)
    if handed is not None:
        return handed
    args = parser().parse_args(argv)
    args.argv = list(argv)  # for commands that start themselves once more, once per rank
    try:
        return int(args.command(args) or 0)
    except SpecError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 2
    except StoredError as error:
        print(f"mamo: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the reader of a pipe has left, as in `mamo plan | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a full or read-only disk
        from mamo.training.faults import describe

        cause = describe(error)
        if cause is None:
            raise
        print(f"mamo: {cause}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mamo: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
