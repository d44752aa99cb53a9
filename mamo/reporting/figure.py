"""Draw the curves of a figure ablation (paper Fig. 6): a row of panels per metric, a column per series."""

from __future__ import annotations

from pathlib import Path

from mamo.files.writing import atomic_write
from mamo.reporting.values import TableValues, mean_of
from mamo.specs.ablation import AblationSpec

_LEAST_SPAN = 2.0  # percentage points that a vertical axis spans at least


def draw(ablation: AblationSpec, values: TableValues, title: str, files: list[Path]) -> None:
    """Draw the ablation's curves and save them once per file, in the format that its suffix names.

    Points are means over seeds, with bars of the 95 % interval; a row whose runs diverged is a cross on the axis. Colours are
    distinguishable with colour-blindness, and series also differ in their markers.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    assert ablation.axes is not None, "checked by AblationSpec"
    # Salted ids make the same values give the same SVG; otherwise they are random.
    plt.rcParams.update({"svg.hashsalt": ablation.name, "font.size": 9})
    series = list(ablation.axes.series)
    colours, markers = sns.color_palette("colorblind", len(series)), "osD^v"
    figure, axes = plt.subplots(
        len(ablation.columns),
        len(series),
        figsize=(3.4 * len(series), 2.5 * len(ablation.columns)),
        sharex="col",
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for i, column in enumerate(ablation.columns):
        for j, name in enumerate(series):
            panel = axes[i, j]
            rows = sorted((row for row in ablation.rows if row.series == name), key=lambda row: row.x or 0.0)
            xs, means, below, above = [], [], [], []
            for row in rows:
                seeds = values.at(row.key, column.key)
                mean = mean_of(seeds)
                if mean is not None:
                    xs.append(row.x)
                    means.append(mean)
                    line = values.statistics_at(row.key, column.key)
                    below.append(max(0.0, mean - line.mean_lower) if line else 0.0)
                    above.append(max(0.0, line.mean_upper - mean) if line else 0.0)
                elif any(seed.outcome != "missing" for seed in seeds):
                    panel.plot(
                        [row.x],
                        [0.03],
                        "x",
                        color="0.2",
                        transform=panel.get_xaxis_transform(),
                        clip_on=False,
                    )
            bars = [below, above] if any(below) or any(above) else None
            panel.errorbar(
                xs, means, yerr=bars, color=colours[j], marker=markers[j % len(markers)], capsize=3
            )
            panel.set_xticks([row.x for row in rows], [f"{row.x:.0%}" for row in rows])
            panel.grid(alpha=0.3)
            if i == len(ablation.columns) - 1:
                panel.set_xlabel(ablation.axes.series[name])
            if j == 0:
                panel.set_ylabel(f"{column.group} {column.label}".strip() + " (%)")
    for panel in axes[:, 0]:  # values that hardly differ must not look far apart; the row shares its axis
        low, high = panel.get_ylim()
        if high - low < _LEAST_SPAN:
            low = max(0.0, (low + high - _LEAST_SPAN) / 2)
            panel.set_ylim(low, low + _LEAST_SPAN)
    figure.suptitle(title, fontsize=10)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
        with atomic_write(file) as part:
            figure.savefig(part, format=file.suffix[1:], dpi=200, metadata=metadata)
    plt.close(figure)
