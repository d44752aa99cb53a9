"""Draw a specification curve: sorted effects with intervals, above a grid that shows which reading each one is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mamo.files.writing import atomic_write
from mamo.reporting.specification_curve import sort_readings
from mamo.reporting.values import CurveQuestion
from mamo.specs.readings import ReadingSpec

COLOURS = {
    "supported": 2,
    "refuted": 3,
    "undecided": 7,
}  # of seaborn's colour-blind palette: green, red, grey
MARKERS = {"supported": "^", "refuted": "v", "undecided": "o"}


def draw_curve(
    readings: Sequence[ReadingSpec], contrasts: Sequence[CurveQuestion], title: str, files: Sequence[Path]
) -> None:
    """Draw one column for each question about a difference, and save it once per file, in the format that its suffix names.

    A reading without a number (a training diverged, say) is a cross on the axis, in the colour of its answer. Answers differ in
    colour and in marker.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    plt.rcParams.update({"svg.hashsalt": title, "font.size": 9})
    shown = [contrast for contrast in contrasts if contrast.difference] or list(contrasts)
    lines = grid_lines(readings)
    most = max(len(contrast.readings) for contrast in shown)
    figure, axes = plt.subplots(
        2,
        len(shown),
        figsize=(2.2 + len(shown) * max(2.2, 0.42 * most), 2.6 + 0.22 * len(lines)),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
        gridspec_kw={"height_ratios": [2.4, max(0.6, 0.22 * len(lines))]},
    )
    palette = sns.color_palette("colorblind")
    for column, contrast in enumerate(shown):
        effects, grid = axes[0, column], axes[1, column]
        effects.axhline(0, color="0.6", linewidth=0.8)
        for place, entry in enumerate(sort_readings(contrast)):
            colour = palette[COLOURS[entry.answer]]
            if entry.value is None or entry.lower is None or entry.upper is None:
                effects.plot(
                    [place], [0.04], "x", color=colour, transform=effects.get_xaxis_transform(), clip_on=False
                )
            else:
                bars = [[entry.value - entry.lower], [entry.upper - entry.value]]
                effects.errorbar(
                    [place],
                    [entry.value],
                    yerr=bars,
                    color=colour,
                    marker=MARKERS[entry.answer],
                    capsize=2,
                )
            for row, members in enumerate(lines.values()):
                chosen = any(key in members for key in entry.keys)
                grid.plot([place], [row], "s", markersize=4, color="0.15" if chosen else "0.88")
        effects.set_title(contrast.label, fontsize=9, wrap=True)
        effects.grid(alpha=0.3, axis="y")
        grid.set_xticks([])
        grid.set_xlim(-0.6, len(contrast.readings) - 0.4)
        grid.set_ylim(len(lines) - 0.4, -0.6)
        grid.tick_params(length=0)
        for side in grid.spines.values():
            side.set_visible(False)
    axes[0, 0].set_ylabel("difference (points)")
    axes[1, 0].set_yticks(range(len(lines)), list(lines))
    marks = [
        plt.Line2D([], [], linestyle="", marker=MARKERS[answer], color=palette[colour], label=answer)
        for answer, colour in COLOURS.items()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
    figure.suptitle(title, fontsize=10)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
        with atomic_write(file) as part:
            figure.savefig(part, format=file.suffix[1:], dpi=160, metadata=metadata)
    plt.close(figure)


def grid_lines(readings: Sequence[ReadingSpec]) -> dict[str, set[str]]:
    """Label of a line of the grid -> keys of the readings that have its square: a choice each, or else a reading each."""
    lines: dict[str, set[str]] = {}
    for reading in readings:
        for label in [f"{point}: {choice}" for point, choice in reading.choices.items()] or [reading.label]:
            lines.setdefault(label, set()).add(reading.key)
    points = list(dict.fromkeys(point for reading in readings for point in reading.choices))
    order = {f"{point}: ": place for place, point in enumerate(points)}
    return dict(
        sorted(
            lines.items(),
            key=lambda line: next(
                (place for start, place in order.items() if line[0].startswith(start)), len(order)
            ),
        )
    )
