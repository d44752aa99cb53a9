"""Find the notebooks of a plan: those whose tables and figures it has."""

from __future__ import annotations

import json
from pathlib import Path

from mamo.specs.plan import Plan

FOLDER = Path("notebooks")


def notebooks_of(plan: Plan, folder: Path = FOLDER) -> dict[str, Path]:
    """Name -> file of every notebook whose metadata (``mamo.needs``) asks for nothing that the plan lacks."""
    notebooks = {}
    for path in sorted(folder.glob("*.ipynb")):
        needs = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("mamo", {}).get("needs", [])
        if all(name in plan.tables or name in plan.figures for name in needs):
            notebooks[path.stem] = path
    return notebooks


def unexecuted(plan: Plan, reports: Path) -> list[str]:
    """List the notebooks whose exported page below ``reports`` is missing or older than the notebook."""
    return [
        name
        for name, path in notebooks_of(plan).items()
        if not (page := reports / "notebooks" / f"{name}.html").is_file()
        or page.stat().st_mtime < path.stat().st_mtime
    ]
