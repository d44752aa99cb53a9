"""Options that the commands share, with their defaults from ``params.yaml``."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mamo.specs.identity import Run
from mamo.specs.names import nearest
from mamo.specs.overrides import SpecError
from mamo.specs.params import FOLDERS, folder, read_params
from mamo.specs.plan import Plan, make_plan
from mamo.specs.seeds import Seeds, read_seeds

# How a run can be named, in every command's help.
RUN = "a run: its kind/id, its id, its name, or the start of one of them"
ABLATIONS = Path("ablations")
PARAMS = Path("params.yaml")
_DEFAULTS = {
    "scale": "smoke",
    "results": "results",
    "reports": "reports",
    "releases": None,
    "profile": None,
    "seeds": None,
    "record": None,
    "any_code": False,
    "micro_batch": None,
    "compile": False,
    "activation_checkpointing": False,
}


def check_project() -> None:
    """Check that the current folder is a checkout of the workbench.

    Raises:
        SpecError: it is not.
    """
    if not ABLATIONS.is_dir():
        raise SpecError(
            f"{Path.cwd()} is not a project folder: it has no folder '{ABLATIONS}'. Call mamo in the root folder of a "
            "checkout of the workbench"
        )


def check_name(name: str, known: Iterable[str], what: str) -> None:
    """Check that a name is known.

    Args:
        what: what has no such thing, e.g. ``scale 'smoke' has no page``.

    Raises:
        SpecError: with the nearest name.
    """
    known = list(known)
    if name not in known:
        raise SpecError(f"{what} '{name}'{nearest(name, known)}")


def not_made(plan: Plan, run: Run, results: Path) -> bool:
    """Check whether a run has no record yet; if so, print the command that makes it and its cost."""
    if run.record(results).is_file():
        return False
    from mamo.cost.work import describe_work

    closure = plan.closure([run.key])
    lacking = [other for key, other in plan.runs.items() if key in closure]
    lacking = [other for other in lacking if not other.record(results).is_file()]
    command = "prepare" if run.kind == "data" else run.kind
    print(
        f"mamo: {run.key} is not made yet: first run `mamo {command} --scale {plan.scale.name} --needs {run.id}`\n"
        f"  it makes {describe_work(plan, lacking, results)}",
        file=sys.stderr,
    )
    return True


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``, for commands whose output programs read."""
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object and nothing else (keys: docs/commands.md)"
    )


def print_json(value: Any) -> None:
    """Print a JSON object; a number that JSON cannot write is null."""

    def plain(part: Any) -> Any:
        if isinstance(part, Mapping):
            return {str(key): plain(inner) for key, inner in part.items()}
        if isinstance(part, list | tuple):
            return [plain(inner) for inner in part]
        if isinstance(part, float):
            return part if math.isfinite(part) else None
        return part if part is None or isinstance(part, bool | int | str) else str(part)

    print(json.dumps(plain(value), ensure_ascii=False, indent=2))


def add_check(parser: argparse.ArgumentParser) -> None:
    """Add ``--check`` of commands that write a generated page."""
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the page is not up to date"
    )


def generated(page: Path, text: str, args: argparse.Namespace, command: str) -> int:
    """Write a generated page, or with ``--check`` see whether it is up to date; return the exit status.

    Args:
        command: the one that writes it.
    """
    if not args.check:
        page.write_text(text, encoding="utf-8")
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        print(f"{page} is not up to date: call `{command}`", file=sys.stderr)
        return 1
    return 0


def add_scale(parser: argparse.ArgumentParser) -> None:
    """Add ``--scale``, and ``--seeds``, which changes how many runs it has."""
    parser.add_argument("--scale", metavar="NAME", help="a file of ablations/scales (default: params.yaml)")
    parser.add_argument(
        "--seeds",
        metavar="N|TABLE=N,...",
        help="runs per row, of every table or of those named, instead of the files' own numbers (default: params.yaml)",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add ``--results``."""
    parser.add_argument("--results", metavar="DIR", help="folder of the runs (default: params.yaml)")


def add_reports(parser: argparse.ArgumentParser) -> None:
    """Add ``--reports``."""
    parser.add_argument(
        "--reports", metavar="DIR", help="folder of tables and figures (default: params.yaml)"
    )


def add_folders(parser: argparse.ArgumentParser) -> None:
    """Add ``--scale``, ``--results`` and ``--reports``, for commands that read runs and pages."""
    add_scale(parser)
    add_results(parser)
    add_reports(parser)


def add_any_code(parser: argparse.ArgumentParser) -> None:
    """Add ``--any-code``, for commands that publish pages."""
    parser.add_argument(
        "--any-code",
        action="store_true",
        default=None,
        help="publish pages of a published scale even if no commit holds the code of some of their runs (default: params.yaml)",
    )


def add_releases(parser: argparse.ArgumentParser) -> None:
    """Add ``--releases``."""
    parser.add_argument(
        "--releases", metavar="DIR", help="the folder of the official releases (default: params.yaml)"
    )


def add_execution(parser: argparse.ArgumentParser) -> None:
    """Add options on how a training run is executed; none of them changes its identity."""
    parser.add_argument(
        "--micro-batch",
        type=int,
        metavar="N",
        help="pairs of a process's share that go through the network at once, where the whole share does not fit into "
        "memory; the gradient stays that of the whole batch (default: params.yaml)",
    )
    switch = argparse.BooleanOptionalAction
    parser.add_argument(
        "--compile", action=switch, help="compile the transformer layers (default: params.yaml)"
    )
    parser.add_argument(
        "--activation-checkpointing",
        action=switch,
        help="recompute activations in the backward pass instead of keeping them (default: params.yaml)",
    )


def execution_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return how a training run is executed, as keywords of ``mamo.runs.run.Options``."""
    names = ("micro_batch", "compile", "activation_checkpointing")
    settings = {name: setting(args, name) for name in names}
    if settings["micro_batch"] is not None and settings["micro_batch"] < 1:
        raise SpecError(
            f"micro_batch {settings['micro_batch']}: at least one pair must go through the network"
        )
    return settings


def profile_of(args: argparse.Namespace | None) -> str | None:
    """Return the Snakemake profile: from the command line, else Snakemake's own variable, else ``params.yaml``."""
    given = getattr(args, "profile", None) or os.environ.get("SNAKEMAKE_PROFILE")
    return given or setting(argparse.Namespace(), "profile")


def setting(args: argparse.Namespace, name: str) -> Any:
    """Return an option's value: from the command line, else ``params.yaml``, else the built-in default."""
    given = getattr(args, name, None)
    if given is not None and name in FOLDERS:
        try:
            return folder(given)
        except ValueError as error:
            raise SpecError(f"--{name} {error}") from None
    if given is not None:
        return given
    value = getattr(read_params(PARAMS), name)
    return _DEFAULTS[name] if value is None else value


def read_plan(args: argparse.Namespace, only: list[str] | None = None, others: bool = False) -> Plan:
    """Plan the chosen scale or some of its ablations; with ``others``, also those that it does not make by default."""
    check_project()
    return make_plan(
        setting(args, "scale"), ABLATIONS, only=only or None, others=others, seeds=seeds_of(args)
    )


def seeds_of(args: argparse.Namespace) -> Seeds:
    """Return the number of runs per row, if the call or ``params.yaml`` sets it."""
    return read_seeds(setting(args, "seeds"))


def results_of(args: argparse.Namespace) -> Path:
    """Return the chosen scale's results."""
    return Path(setting(args, "results")) / setting(args, "scale")


def reports_of(args: argparse.Namespace) -> Path:
    """Return the chosen scale's reports."""
    return Path(setting(args, "reports")) / setting(args, "scale")


def logs_of(args: argparse.Namespace) -> Path:
    """Return the chosen scale's logs, as the workflow writes them."""
    return Path("logs") / setting(args, "scale")


def releases_of(args: argparse.Namespace) -> Path | None:
    """Return the folder of the official releases, if one is named."""
    value = setting(args, "releases")
    return Path(value) if value else None
