"""Draw a figure of the plan where one works on it, as in a notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mamo.reporting.figure_pages import figure_heading, maps_path
from mamo.specs.plan import Plan

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def show_figure(
    plan: Plan,
    name: str,
    results: Path,
    images: Sequence[str | Path] = (),
    texts: Sequence[str] | str | None = None,
    weights: str | None = None,
) -> tuple[dict[str, Any], Figure]:
    """Draw a figure from its maps; compute them from the models' weights for other images, words or models.

    Args:
        results: folder of the scale's runs.
        images: photos of your own or keys of the data set; none: the figure's own examples.
        texts: one for all images, or one for each.
        weights: a run, an exported folder or a model of the package, instead of the figure's own.

    Returns:
        The figure's values, with its examples and maps, and the drawing.

    Raises:
        SpecError, RunError, PreparedError, LoadError: see :func:`mamo.figures.maps.compute_figure`.
    """
    from mamo.drawing.draw import lay_out_drawing
    from mamo.figures.maps import compute_figure
    from mamo.figures.publish import read_maps

    made = maps_path(plan, name, results)
    if made.is_file() and not (images or texts or weights):
        values = read_maps(made)
    else:
        values = compute_figure(plan, name, results, images, texts, weights)
    return values, lay_out_drawing(values, f"{figure_heading(plan.figures[name].figure)} ({plan.scale.name})")
