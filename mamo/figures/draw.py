"""Drawings of maps with matplotlib, one layout per method."""

from __future__ import annotations

import base64
import io
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mamo.figures.overlay import overlay, picture
from mamo.training.run import beside, write_text

Values = Mapping[str, Any]
TRUE_BOX, CHOSEN_BOX = "#00c2f3", "#ffffff"
_PANEL = 1.15  # inches
_WORDS_PER_LINE = 7
_DPI = 110
_SMALL, _LARGE = 128, 192  # pixels of a panel's shorter side


def draw_figure(values: Values, title: str, files: Sequence[Path]) -> None:
    """Draw what ``compute_figure`` found, and save it once per file, in the format that its suffix names."""
    import matplotlib

    # Ids in an SVG are random unless salted: the same values then give the same file.
    matplotlib.rcParams.update(
        {"svg.hashsalt": str(values["figure"]), "font.size": 8, "svg.image_inline": True}
    )
    figure = drawing(values, title)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".svg":
            _save_svg(figure, file)
        else:
            metadata = {"metadata": {"Software": None}} if file.suffix == ".png" else {}
            with beside(file) as part:
                figure.savefig(part, format=file.suffix[1:], dpi=_DPI, **metadata)


def drawing(values: Values, title: str) -> Any:
    """What ``compute_figure`` found, as a matplotlib figure."""
    figure = _LAYOUTS[values["method"]](values)
    figure.suptitle(title, fontsize=10)
    return figure


def _save_svg(figure: Any, file: Path) -> None:
    """With its pictures as JPEG, which takes a fifth of PNG's bytes for photographs and heat."""
    buffer = io.StringIO()
    figure.savefig(buffer, dpi=_DPI, format="svg", metadata={"Date": None})

    def smaller(match: re.Match[str]) -> str:
        jpeg = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
            image.convert("RGB").save(jpeg, "JPEG", quality=88)
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"

    text = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, buffer.getvalue())
    # The layout's solver differs in last digits from time to time, and matplotlib's names of clips with it.
    for i, name in enumerate(re.findall(r'<clipPath id="(p[0-9a-f]+)"', text)):
        text = text.replace(name, f"clip{i}")
    write_text(file, text)


def _words(values: Values) -> Any:
    """Per example its image, and for each line of words one row of maps per model."""
    from matplotlib.figure import Figure

    models = values["models"]
    lines = [_lines(example["words"]) for example in values["examples"]]
    rows = sum(len(models) * len(part) for part in lines)
    figure = Figure(
        figsize=(_PANEL * (_WORDS_PER_LINE + 1.9), (_PANEL + 0.2) * rows + 0.5 * len(lines) + 0.3),
        layout="constrained",
    )
    parts = figure.subfigures(len(lines), 1, squeeze=False, height_ratios=[len(part) for part in lines])[:, 0]
    for part, example, chunks in zip(parts, values["examples"], lines, strict=True):
        part.suptitle(_wrapped(f"“{example['text']}”", 105), fontsize=9, x=0.02, ha="left")
        height = len(models) * len(chunks)
        left, right = part.subfigures(1, 2, width_ratios=(1.5, _WORDS_PER_LINE + 0.4))
        image = picture(example, _SMALL)
        axes = left.subplots(1, 1)
        axes.set_anchor("N")
        _show(axes, image)
        _truths(axes, [named["box"] for named in example["named"]], image)
        grid = right.subplots(height, _WORDS_PER_LINE, squeeze=False)
        for i, words in enumerate(chunks):
            for j, model in enumerate(models):
                row = grid[len(models) * i + j]
                for panel in row:
                    panel.axis("off")
                row[0].text(
                    -0.12, 0.5, _wrapped(model["label"].partition(" (")[0], 12), rotation=90, va="center", ha="right",
                    fontsize=7, transform=row[0].transAxes,
                )  # fmt: skip
                _word_row(row, example, model, words, image, values["grid"], head=j == 0)
    return figure


def _word_row(
    row: Any, example: Values, model: Values, words: list[int], image: np.ndarray, grid: int, head: bool
) -> None:
    own = example["models"].get(model["key"])
    for panel, word in zip(row, words, strict=False):
        if head:
            panel.set_title(example["words"][word], fontsize=9, pad=2)
        if own is None:
            panel.text(0.5, 0.5, model["outcome"], ha="center", va="center", transform=panel.transAxes)
            continue
        _show(panel, overlay(image, own["maps"][word], grid))
        if not any(own["maps"][word]):
            panel.text(
                0.5,
                0.5,
                "no heat",
                ha="center",
                va="center",
                fontsize=7,
                color="white",
                transform=panel.transAxes,
            )
        for named, fit in zip(example["named"], own["fits"], strict=True):
            if word in named["words"]:
                _truths(panel, [named["box"]], image)
                sign = "●" if fit["hit"] else "○"
                panel.text(0.5, -0.02, f"{sign} {fit['share']:.0%}", ha="center", va="top", fontsize=7,
                           transform=panel.transAxes)  # fmt: skip


def _lines(words: Sequence[str]) -> list[list[int]]:
    """Places of the words that are shown, punctuation left out, in lines."""
    places = [i for i, word in enumerate(words) if any(letter.isalnum() for letter in word)]
    count = -(-len(places) // _WORDS_PER_LINE)
    length = -(-len(places) // max(1, count))
    return [places[i : i + length] for i in range(0, len(places), max(1, length))]


def _masked_words(values: Values) -> Any:
    """Per example the image, and its map beside it; the masked word stands in brackets."""
    (model,) = values["models"]

    def panels(example: Values, image: np.ndarray) -> list[tuple[np.ndarray | None, str, list[Any], Any]]:
        own = example["models"].get(model["key"])
        guesses = ", ".join(f"{word} {share:.0%}" for word, share in (own or {}).get("guesses", []))
        shown = overlay(image, own["map"], values["grid"]) if own else None
        return [
            (image, "", example["boxes"], None),
            (shown, f"MLM's guesses: {guesses}" if guesses else "", example["boxes"], None),
        ]

    return _strips(values, panels, lambda example: _sentence(example, example["masked"]))


def _grounding(values: Values) -> Any:
    """Per example the image with the true box, and one map per model with the box that it chooses."""

    def panels(example: Values, image: np.ndarray) -> list[tuple[np.ndarray | None, str, list[Any], Any]]:
        truths = [example["box"]] if example["box"] else []  # an own photo has none
        found: list[tuple[np.ndarray | None, str, list[Any], Any]] = [(image, "", truths, None)]
        for model in values["models"]:
            own = example["models"].get(model["key"])
            shown = overlay(image, own["map"], values["grid"]) if own else None
            verdict = ""
            if own is not None and own["right"] is not None:
                verdict = ("right" if own["right"] else "wrong") + f", IoU {own['iou']:.2f}"
            label = model["label"].partition(" (")[0]
            found.append((shown, f"{label}\n{verdict}", truths, own["box"] if own else None))
        return found

    return _strips(values, panels, lambda example: f"“{example['text']}”")


def _answers(values: Values) -> Any:
    """Per example the image, and the map of the model's answer."""
    (model, *_) = values["models"]

    def panels(example: Values, image: np.ndarray) -> list[tuple[np.ndarray | None, str, list[Any], Any]]:
        own = example["models"].get(model["key"])
        if own is None:
            return [(image, "", [], None), (None, "", [], None)]
        verdict = {True: "right", False: f"truth: {example['answer']}", None: ""}[own["right"]]
        label = f"{own['answer']} ({own['probability']:.0%})\n{verdict}"
        return [(image, "", [], None), (overlay(image, own["map"], values["grid"]), label, [], None)]

    return _strips(values, panels, lambda example: example["text"])


def _strips(
    values: Values,
    panels: Callable[[Values, np.ndarray], list[tuple[np.ndarray | None, str, list[Any], Any]]],
    heading: Callable[[Values], str],
) -> Any:
    """Examples two abreast, each a heading over a row of panels: image or nothing, label, true boxes, chosen box."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    examples = values["examples"]
    shown = [panels(example, picture(example, _LARGE)) for example in examples]
    width = max(map(len, shown))
    abreast = 2 if width < 3 else 1
    if width == 3 and len(examples) > 3:
        abreast = 2
    rows = -(-len(examples) // abreast)
    layout = ConstrainedLayoutEngine(rect=(0, 0.02, 1, 0.97))  # room for the last row's labels
    figure = Figure(figsize=(1.55 * width * abreast + 0.4, 2.25 * rows + 0.35), layout=layout)
    parts = figure.subfigures(rows, abreast, squeeze=False).flat
    for part, example, row in zip(parts, examples, shown, strict=False):
        part.suptitle(_wrapped(heading(example), 22 * width), fontsize=8)
        for axes, (image, label, truths, chosen) in zip(part.subplots(1, width), row, strict=False):
            axes.axis("off")
            if image is None:
                axes.text(0.5, 0.5, "diverged", ha="center", va="center", transform=axes.transAxes)
                continue
            _show(axes, image)
            _truths(axes, truths, image)
            if chosen is not None:
                _box(axes, chosen, image, CHOSEN_BOX, "--")
            axes.text(
                0.5, -0.03, _wrapped(label, 26), ha="center", va="top", fontsize=7, transform=axes.transAxes
            )
    return figure


def _masked_patches(values: Values) -> Any:
    """Per example the image with its masked patches, the caption as shaded words, and the values as bars."""
    from matplotlib.figure import Figure

    (model,) = values["models"]
    examples = values["examples"]
    rows = -(-len(examples) // 2)
    figure = Figure(figsize=(9.6, 2.5 * rows + 0.35), layout="constrained")
    for part, example in zip(figure.subfigures(rows, 2, squeeze=False).flat, examples, strict=False):
        left, right = part.subplots(1, 2, width_ratios=(1, 1.5))
        image = picture(example, _LARGE)
        _show(left, image)
        _hatch(left, example["patches"], values["grid"], image)
        own = example["models"].get(model["key"])
        if own is None:
            right.text(0.5, 0.5, model["outcome"], ha="center", va="center", transform=right.transAxes)
            continue
        _shaded_bars(right, example["words"], own["values"])
    return figure


def _shaded_bars(axes: Any, words: Sequence[str], values: Sequence[float]) -> None:
    """One bar per word, whose label is shaded as deep as its bar is long."""
    from matplotlib import colormaps

    shares = np.asarray(values) / (max(values) or 1.0)
    colours = colormaps["Oranges"](0.08 + 0.72 * shares)
    places = np.arange(len(words))
    axes.barh(places, shares, color=colours, edgecolor="0.35", linewidth=0.5)
    axes.set_yticks(places, words, fontsize=7)
    for label, share, colour in zip(axes.get_yticklabels(), shares, colours, strict=True):
        label.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 1.2})
        label.set_color("white" if share > 0.8 else "black")
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xticks([0, 0.5, 1])
    axes.set_xlabel("Grad-CAM value (largest = 1)", fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _show(axes: Any, image: np.ndarray) -> None:
    axes.imshow(image, interpolation="nearest")
    axes.axis("off")


def _truths(axes: Any, boxes: Sequence[Any], image: np.ndarray) -> None:
    for box in boxes:
        _box(axes, box, image, TRUE_BOX, "-")


def _box(axes: Any, box: Sequence[float], image: np.ndarray, colour: str, style: str) -> None:
    """A box on a dark rim, so that it shows on light and on dark ground."""
    from matplotlib.patches import Rectangle

    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    place = ((x0 * width - 0.5, y0 * height - 0.5), (x1 - x0) * width, (y1 - y0) * height)
    axes.add_patch(Rectangle(*place, fill=False, edgecolor="black", linewidth=2.2))
    axes.add_patch(Rectangle(*place, fill=False, edgecolor=colour, linewidth=1.2, linestyle=style))


def _hatch(axes: Any, patches: Sequence[int], grid: int, image: np.ndarray) -> None:
    from matplotlib.patches import Rectangle

    height, width = image.shape[0] / grid, image.shape[1] / grid
    for patch in patches:
        row, column = divmod(patch, grid)
        axes.add_patch(
            Rectangle((column * width - 0.5, row * height - 0.5), width, height, facecolor="0.75", edgecolor="0.2",
                      hatch="////", linewidth=0.5)
        )  # fmt: skip


def _sentence(example: Values, masked: int) -> str:
    words = [f"[{word}]" if i == masked else word for i, word in enumerate(example["words"])]
    text = " ".join(words)
    for mark in ",.?!;:":
        text = text.replace(f" {mark}", mark)
    return text


def _wrapped(text: str, width: int) -> str:
    # A dollar sign would open matplotlib's mathematics.
    return "\n".join("\n".join(textwrap.wrap(line, width)) for line in text.replace("$", r"\$").splitlines())


_LAYOUTS: dict[str, Callable[[Values], Any]] = {
    "words": _words,
    "masked_words": _masked_words,
    "masked_patches": _masked_patches,
    "grounding": _grounding,
    "answers": _answers,
}
