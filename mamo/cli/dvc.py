"""``mamo dvc``: dvc.yaml from the ablation files, so that ``dvc repro table5`` works.

A stage calls Snakemake for its table and decides nothing itself: what is up to date is decided by the digests in the runs'
paths. DVC removes outputs before a stage unless they persist, and a linked cache would disturb modification times; so the
published tables, which are small and belong to git, persist and stay out of DVC's cache.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from mamo.cli import options
from mamo.reporting.pages import OVERVIEW, pages_of
from mamo.specs.ablation import read_ablation
from mamo.specs.plan import make_plan

FILE = Path("dvc.yaml")
SCALE = "paper"  # its ablations come first, in its order
HEADER = (
    "# Made by `mamo dvc` from the files of ablations/; `mamo dvc --check` says whether it is up to date.\n"
)


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "dvc",
        help="write dvc.yaml from the ablation files",
        description="Write dvc.yaml: one stage per table and figure, and one for all of a scale.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the file is not up to date"
    )
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    text = dvc_yaml(options.ABLATIONS)
    if not args.check:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.is_file() and FILE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{FILE} is not what the ablation files make: call `mamo dvc`", file=sys.stderr)
    return 1


def dvc_yaml(ablations: Path) -> str:
    """The text of dvc.yaml: a stage for every ablation file."""
    plan = make_plan(SCALE, ablations)
    shared = ["mamo/specs", "mamo/reporting", f"{ablations}/scales", f"{ablations}/paper"]
    stages: dict[str, Any] = {}
    for name in dict.fromkeys([*plan.tables, *sorted(path.stem for path in ablations.glob("*.yaml"))]):
        files = tuple(f"{name}.{suffix}" for suffix in read_ablation(name, ablations).suffixes)
        stages[name] = _stage(name, [*shared, f"{ablations}/{name}.yaml"], files)
    stages["report"] = _stage(
        "reproduce_all",
        ["mamo/specs", "mamo/reporting", str(ablations)],
        pages_of(plan, ablations)[OVERVIEW].files,
    )
    return HEADER + yaml.safe_dump({"stages": stages}, sort_keys=False, width=130)


def _stage(target: str, dependencies: list[str], files: tuple[str, ...]) -> dict[str, Any]:
    return {
        "cmd": f"snakemake --config scale=${{scale}} -- {target}",
        "deps": dependencies,
        "params": ["scale"],
        "outs": [{f"${{reports}}/${{scale}}/{file}": {"cache": False, "persist": True}} for file in files],
    }
