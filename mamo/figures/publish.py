"""A figure's values on disk, and its published files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.drawing.draw import draw_figure, draw_small
from mamo.files.writing import write_text
from mamo.reporting.figure_pages import figure_heading, figure_page
from mamo.reporting.pages import pages_of
from mamo.reporting.publish import caveat
from mamo.specs.plan import Plan


def write_maps(values: Mapping[str, Any], path: Path) -> None:
    """Write the values from ``compute_figure`` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_maps(path: Path) -> dict[str, Any]:
    """Read values written by ``write_maps``."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def publish_figure(plan: Plan, name: str, values: Mapping[str, Any], reports: Path, ablations: Path) -> Path:
    """Write a figure's drawings and page below one scale's reports, the page last.

    Args:
        values: from ``compute_figure``.

    Returns:
        the page.
    """
    page = pages_of(plan, ablations)[name]
    title = f"{figure_heading(plan.figures[name].figure)} ({plan.scale.name})"
    small = [file for file in page.files[1:] if file.endswith("-small.png")]
    draw_figure(values, title, [reports / file for file in page.files[1:] if file not in small])
    if small:
        draw_small(values, [reports / file for file in small])
    path = reports / page.files[0]
    write_text(path, figure_page(plan, name, values, page.mark, caveat(plan.scale)))
    return path
