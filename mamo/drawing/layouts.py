"""Lay out each kind of figure on its sheet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mamo.drawing.overlay import hottest_values, overlay, picture
from mamo.drawing.sheet import CHOSEN_BOX, RIM, TRUE_BOX, Sheet, wrap_text

Values = Mapping[str, Any]
# A panel: its picture (None where the model diverged), its label, and boxes with colour and style.
Panel = tuple[np.ndarray | None, str, list[tuple[Any, str, str]]]
_MARGIN, _BETWEEN = 0.08, 0.08  # inches
_FEW, _MANY = 128, 192  # pixels of a panel's shorter side, where there are many panels or few


@dataclass(frozen=True)
class Style:
    """Sizes of one drawing.

    Attributes:
        panel: width of a panel, in inches.
        font: size of words and captions, in points; labels under a panel are smaller.
        words: panels of words side by side, at most.
        abreast: put two examples side by side if they fit.
    """

    panel: float = 1.15
    font: float = 9.0
    words: int = 7
    abreast: bool = True

    @property
    def small(self) -> float:
        """Points of labels."""
        return self.font - 1.0


FULL, SMALL = Style(), Style(panel=1.25, font=13.0, words=3, abreast=False)


def lay_out(values: Values, title: str, style: Style = FULL) -> Any:
    """Lay out the values from ``compute_figure`` as a matplotlib figure.

    Args:
        title: over the figure; '' for none.
    """
    sheet = _LAYOUTS[values["method"]](values, style)
    if title:
        sheet.add_title(wrap_text(title, sheet.width - 0.2, style.font + 1), style.font + 1)
    return sheet.figure()


def excerpt(values: Values) -> Values:
    """Select an excerpt that stays legible when small: one image with three words, or two phrases."""
    if values["method"] != "words":
        return {**values, "examples": values["examples"][:2]}
    example = values["examples"][0]
    places = [i for i, word in enumerate(example["words"]) if _is_word(word)]
    named = {i: named["what"] for named in example["named"] for i in named["words"][:1]}
    order = sorted(
        places, key=lambda i: (named.get(i) != "object", i not in named, -len(example["words"][i]))
    )
    return {**values, "examples": [example | {"shown": sorted(order[: SMALL.words])}]}


def _is_word(word: str) -> bool:
    return any(letter.isalnum() for letter in word)


def _lay_out_words(values: Values, style: Style) -> Sheet:
    """Lay out for each example its image, and beside it for each line of words one row of maps per model."""
    models, examples = values["models"], values["examples"]
    shown = [
        example.get("shown") or [i for i, word in enumerate(example["words"]) if _is_word(word)]
        for example in examples
    ]
    columns = _words_per_line([len(places) for places in shown], style.words)
    size, step = style.panel, style.panel + _BETWEEN
    label = 0.1 + 1.3 * style.small / 72
    left = _MARGIN + 1.35 * size + 0.12 + label
    sheet = Sheet(left + columns * step - _BETWEEN + _MARGIN)
    y = _MARGIN
    for example, places, top in zip(examples, shown, hottest_values(values), strict=True):
        caption = wrap_text(f"“{example['text']}”", sheet.width - 2 * _MARGIN, style.font)
        y += sheet.text(_MARGIN, y, caption, style.font) + 0.08
        image = picture(example, _FEW)
        boxes = [(named["box"], TRUE_BOX, "-") for named in example["named"]]
        header = 1.25 * style.font / 72 + 0.03
        high = sheet.image(_MARGIN, y + header, 1.35 * size, image, *boxes)
        sheet.text(_MARGIN, y + header + high + 0.04, f"hottest: {top:.2g}", style.small - 1, color="0.4")
        for start in range(0, len(places), columns):
            line = places[start : start + columns]
            for i, word in enumerate(line):
                x = left + i * step + size / 2
                sheet.text(x, y, example["words"][word], style.font, ha="center")
            y += header
            for model in models:
                depth = _word_row(sheet, left, y, example, model, line, image, values["grid"], top, style)
                name = wrap_text(model["label"].partition(" (")[0], size, style.small)
                sheet.text(
                    left - 0.06, y + size * image.shape[0] / image.shape[1] / 2, name, style.small,
                    rotation=90, va="center", ha="right",
                )  # fmt: skip
                y += depth
            y += 0.1
        y = max(y, sheet.bottom) + 0.16
    return sheet


def _words_per_line(lengths: Sequence[int], most: int) -> int:
    """Choose the number of words per line that leaves the fewest places empty; on a tie, the most."""
    longest = max(lengths, default=1)
    if longest <= most:
        return max(1, longest)
    waste = {
        columns: sum(-(-length // columns) * columns - length for length in lengths)
        for columns in range(max(2, most // 2 + 1), most + 1)
    }
    return min(waste, key=lambda columns: (waste[columns], -columns))


def _word_row(
    sheet: Sheet, left: float, y: float, example: Values, model: Values, words: Sequence[int], image: np.ndarray,
    grid: int, top: float, style: Style,
) -> float:  # fmt: skip
    """Draw one model's maps of a line of words; return how far down they reach."""
    own, size = example["models"].get(model["key"]), style.panel
    high = size * image.shape[0] / image.shape[1]
    for i, word in enumerate(words):
        x = left + i * (size + _BETWEEN)
        if own is None:
            sheet.text(x + size / 2, y + high / 2, model["outcome"], style.small, ha="center", va="center")
            continue
        fits = [
            (named["box"], fit)
            for named, fit in zip(example["named"], own["fits"], strict=True)
            if word in named["words"]
        ]
        boxes = [(box, TRUE_BOX, "-") for box, _ in fits]
        sheet.image(x, y, size, overlay(image, own["maps"][word], grid, top), *boxes)
        if not any(own["maps"][word]):
            sheet.text(
                x + size / 2, y + high / 2, "no heat", style.small, ha="center", va="center", color="white"
            )
        for _, fit in fits[:1]:
            fit_text = f"{'●' if fit['hit'] else '○'} {fit['share']:.0%}"
            sheet.text(x + size / 2, y + high + 0.02, fit_text, style.small, ha="center")
    return high + 1.25 * style.small / 72 + 0.06


def _lay_out_masked_words(values: Values, style: Style) -> Sheet:
    """Lay out for each example the image, and its map beside it; the masked word is in brackets."""
    (model,) = values["models"]

    def panels(example: Values, image: np.ndarray, top: float) -> list[Panel]:
        own = example["models"].get(model["key"])
        guesses = ", ".join(
            f"{word}\N{NO-BREAK SPACE}{share:.0%}" for word, share in (own or {}).get("guesses", [])
        )
        boxes = [(box, TRUE_BOX, "-") for box in example["boxes"]]
        heat = overlay(image, own["map"], values["grid"], top) if own else None
        hidden = f"hidden: {example['words'][example['masked']]}"
        return [(image, hidden, boxes), (heat, f"MLM's guesses: {guesses}" if guesses else "", boxes)]

    return _strips(values, panels, lambda example: _sentence(example, example["masked"]), style)


def _lay_out_grounding(values: Values, style: Style) -> Sheet:
    """Lay out for each example the image with the true box, and one map per model with the box that it chooses."""

    def panels(example: Values, image: np.ndarray, top: float) -> list[Panel]:
        truths = [(example["box"], TRUE_BOX, "-")] if example["box"] else []  # a user's photo has none
        drawn: list[Panel] = [(image, "", truths)]
        for model in values["models"]:
            own = example["models"].get(model["key"])
            heat = overlay(image, own["map"], values["grid"], top) if own else None
            boxes = [*truths, *([(own["box"], CHOSEN_BOX, "--")] if own and own["box"] else [])]
            judged = own is not None and own["right"] is not None
            verdict = f"{'right' if own['right'] else 'wrong'}, IoU {own['iou']:.2f}" if judged else ""
            drawn.append((heat, f"{model['label'].partition(' (')[0]}\n{verdict}", boxes))
        return drawn

    return _strips(values, panels, lambda example: f"“{example['text']}”", style)


def _lay_out_answers(values: Values, style: Style) -> Sheet:
    """Lay out for each example the image, and the map of the model's answer."""
    (model, *_) = values["models"]

    def panels(example: Values, image: np.ndarray, top: float) -> list[Panel]:
        own = example["models"].get(model["key"])
        if own is None:
            return [(image, "", []), (None, "", [])]
        verdict = {True: "right", False: f"truth: {example['answer']}", None: ""}[own["right"]]
        label = f"{own['answer']} ({own['probability']:.0%})\n{verdict}"
        return [(image, "", []), (overlay(image, own["map"], values["grid"], top), label, [])]

    return _strips(values, panels, lambda example: example["text"], style)


def _strips(
    values: Values,
    panels: Callable[[Values, np.ndarray, float], list[Panel]],
    heading: Callable[[Values], str],
    style: Style,
) -> Sheet:
    """Lay out examples side by side, each a heading right above its row of panels, with their labels under them."""
    examples = values["examples"]
    images = [picture(example, _MANY) for example in examples]
    shown = [panels(*triple) for triple in zip(examples, images, hottest_values(values), strict=True)]
    width, size = max(map(len, shown)), style.panel + 0.4
    abreast = 2 if style.abreast and len(examples) > 1 and width < 4 else 1
    strip = width * size + (width - 1) * _BETWEEN
    apart = 0.28
    sheet = Sheet(2 * _MARGIN + abreast * strip + (abreast - 1) * apart)
    y = _MARGIN
    for start in range(0, len(examples), abreast):
        row = range(start, min(start + abreast, len(examples)))
        titles = [wrap_text(heading(examples[i]), strip, style.font) for i in row]
        deep = max(title.count("\n") + 1 for title in titles) * 1.25 * style.font / 72 + 0.05
        high = max(size * images[i].shape[0] / images[i].shape[1] for i in row)
        below = y
        for place, (i, title) in enumerate(zip(row, titles, strict=True)):
            x = _MARGIN + place * (strip + apart)
            # The heading belongs to its panels, not to the row above.
            sheet.text(x, y + deep - 0.04, title, style.font, va="bottom")
            for image, label, boxes in shown[i]:
                if image is None:
                    sheet.text(x + size / 2, y + deep + high / 2, "diverged", style.font, ha="center")
                else:
                    own = sheet.image(x, y + deep, size, image, *boxes)
                    text = wrap_text(label, size, style.small)
                    below = max(
                        below,
                        y + deep + own + 0.03
                        + (sheet.text(x + size / 2, y + deep + own + 0.03, text, style.small, ha="center") if text else 0),
                    )  # fmt: skip
                x += size + _BETWEEN
        y = max(below, y + deep + high) + 0.22
    return sheet


def _lay_out_masked_patches(values: Values, style: Style) -> Sheet:
    """Lay out for each example the image with its masked patches and what they hide, and the words' values as bars."""
    (model,) = values["models"]
    examples = values["examples"]
    size, words, bars, apart = style.panel + 0.55, 0.95, 2.1, 0.3
    width = size + words + bars
    abreast = 2 if style.abreast and len(examples) > 1 else 1
    sheet = Sheet(2 * _MARGIN + abreast * width + (abreast - 1) * apart)
    y = _MARGIN
    for start in range(0, len(examples), abreast):
        row = examples[start : start + abreast]
        high = max(size, 0.21 * max(len(example["words"]) for example in row))
        for place, example in enumerate(row):
            x = _MARGIN + place * (width + apart)
            image = picture(example, _MANY)
            own_high = size * image.shape[0] / image.shape[1]
            sheet.panel(x, y, size, own_high, _hatched(image, example["patches"], values["grid"]))
            hidden = ", ".join(example.get("hidden", ()))
            if hidden:
                text = wrap_text(f"hidden: {hidden}", size, style.small)
                sheet.text(x + size / 2, y + own_high + 0.04, text, style.small, ha="center")
            own = example["models"].get(model["key"])
            if own is None:
                sheet.text(x + size + words, y + high / 2, model["outcome"], style.font)
            else:
                deep = max(size, 0.21 * len(example["words"]))
                bar_chart = _shaded_bars(example["words"], own["values"], style)
                sheet.panel(x + size + words, y, bars, deep, bar_chart)
        sheet.reserve(y + high + 0.42)  # the axis's numbers and label
        y = sheet.bottom + 0.16
    return sheet


def _shaded_bars(words: Sequence[str], values: Sequence[float], style: Style) -> Callable[[Any], None]:
    """Draw one bar per word, whose label is shaded as deep as its bar is long."""
    from matplotlib import colormaps

    top = max(values, default=0.0)
    shares = np.asarray(values) / (top or 1.0)
    colours = colormaps["Oranges"](0.08 + 0.72 * shares)

    def draw(axes: Any) -> None:
        places = np.arange(len(words))
        axes.barh(places, shares, color=colours, edgecolor="0.35", linewidth=0.5)
        axes.set_yticks(places, [word.replace("$", r"\$") for word in words], fontsize=style.small)
        for label, share, colour in zip(axes.get_yticklabels(), shares, colours, strict=True):
            label.set_bbox({"facecolor": colour, "edgecolor": "none", "pad": 1.2})
            label.set_color("white" if share > 0.8 else RIM)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.02)
        axes.set_xticks([0, 0.5, 1])
        axes.set_xlabel(f"Share of the largest ({top:.1e})", fontsize=style.small)
        axes.tick_params(axis="x", labelsize=style.small)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    return draw


def _hatched(image: np.ndarray, patches: Sequence[int], grid: int) -> Callable[[Any], None]:
    """Draw a picture with its masked patches hatched."""

    def draw(axes: Any) -> None:
        from matplotlib.patches import Rectangle

        axes.imshow(image, interpolation="none", aspect="auto")
        axes.axis("off")
        height, width = image.shape[0] / grid, image.shape[1] / grid
        for patch in patches:
            row, column = divmod(patch, grid)
            axes.add_patch(
                Rectangle((column * width - 0.5, row * height - 0.5), width, height, facecolor="0.75", edgecolor="0.2",
                          hatch="////", linewidth=0.5)
            )  # fmt: skip

    return draw


def _sentence(example: Values, masked: int) -> str:
    words = [f"[{word}]" if i == masked else word for i, word in enumerate(example["words"])]
    text = " ".join(words)
    for mark in ",.?!;:":
        text = text.replace(f" {mark}", mark)
    return text


_LAYOUTS: dict[str, Callable[[Values, Style], Sheet]] = {
    "words": _lay_out_words,
    "masked_words": _lay_out_masked_words,
    "masked_patches": _lay_out_masked_patches,
    "grounding": _lay_out_grounding,
    "answers": _lay_out_answers,
}
