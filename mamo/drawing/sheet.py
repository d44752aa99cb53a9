"""A sheet measured in inches from its upper left corner, on which panels and texts are placed."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

# Nearly black: text on pictures or colours stays dark when a dark page turns plain black text light.
RIM = "#010101"
TRUE_BOX, CHOSEN_BOX = "#00c2f3", "#ffffff"
_LINE = 1.25 / 72  # inches of a line of text for each point of its size


class Sheet:
    """Collect drawing calls, and make the figure once its size is known.

    Attributes:
        width: in inches.
        bottom: how far down the sheet is used.
    """

    def __init__(self, width: float) -> None:
        self.width, self.bottom = width, 0.0
        self._texts: list[tuple[float, float, str, dict[str, Any]]] = []
        self._panels: list[tuple[float, float, float, float, Any]] = []

    def text(self, x: float, y: float, text: str, size: float, **options: Any) -> float:
        """Put a text with its upper edge at ``y``; return its height."""
        deep = (text.count("\n") + 1) * size * _LINE
        options = {"ha": "left", "va": "top"} | options
        self._texts.append((x, y, _without_math(text), options | {"fontsize": size}))
        self.bottom = max(self.bottom, y + (deep if options["va"] == "top" else 0.0))
        return deep

    def panel(self, x: float, y: float, width: float, height: float, draw: Any) -> None:
        """Put axes with their upper left corner at (x, y); ``draw`` is called with them."""
        self._panels.append((x, y, width, height, draw))
        self.bottom = max(self.bottom, y + height)

    def image(
        self, x: float, y: float, width: float, image: np.ndarray, *boxes: tuple[Any, str, str]
    ) -> float:
        """Put a picture with boxes (box, colour, style); return its height."""
        height = width * image.shape[0] / image.shape[1]

        def draw(axes: Any) -> None:
            axes.imshow(image, interpolation="none", aspect="auto")
            axes.axis("off")
            for box, colour, style in boxes:
                _draw_box(axes, box, image, colour, style)

        self.panel(x, y, width, height, draw)
        return height

    def reserve(self, y: float) -> None:
        """Reserve the sheet down to ``y`` for labels that panels draw around themselves."""
        self.bottom = max(self.bottom, y)

    def add_title(self, title: str, size: float) -> None:
        """Put a title above everything."""
        down = 0.06 + (title.count("\n") + 1) * size * _LINE + 0.08
        self._texts = [(x, y + down, text, options) for x, y, text, options in self._texts]
        self._panels = [(x, y + down, wide, high, draw) for x, y, wide, high, draw in self._panels]
        self.bottom += down
        self.text(self.width / 2, 0.06, title, size, ha="center")

    def figure(self) -> Any:
        """Draw the sheet as a matplotlib figure."""
        from matplotlib.figure import Figure

        height = self.bottom + 0.08
        figure = Figure(figsize=(self.width, height))
        for x, y, wide, high, draw in self._panels:
            draw(figure.add_axes((x / self.width, 1 - (y + high) / height, wide / self.width, high / height)))
        for x, y, text, options in self._texts:
            figure.text(x / self.width, 1 - y / height, text, **options)
        return figure


def wrap_text(text: str, inches: float, size: float) -> str:
    """Break a text into lines no wider than ``inches``, in a font of ``size`` points."""
    width = max(8, int(inches * 72 / (0.56 * size)))
    return "\n".join("\n".join(textwrap.wrap(line, width)) for line in text.splitlines())


def _without_math(text: str) -> str:
    # A dollar sign would start matplotlib's math mode.
    return text.replace("$", r"\$")


def _draw_box(axes: Any, box: Sequence[float], image: np.ndarray, colour: str, style: str) -> None:
    """Draw a box with a dark rim, so that it shows on light and dark ground."""
    from matplotlib.patches import Rectangle

    height, width = image.shape[:2]
    x0, y0, x1, y1 = box
    place = ((x0 * width - 0.5, y0 * height - 0.5), (x1 - x0) * width, (y1 - y0) * height)
    axes.add_patch(Rectangle(*place, fill=False, edgecolor=RIM, linewidth=2.4))
    axes.add_patch(Rectangle(*place, fill=False, edgecolor=colour, linewidth=1.3, linestyle=style))
