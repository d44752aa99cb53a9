"""Drawings of maps with matplotlib, as files and for notebooks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mamo.drawing.layouts import FULL, SMALL, Style, excerpt, lay_out
from mamo.files.writing import beside, write_text

Values = Mapping[str, Any]
_DPI = 200


def draw_figure(values: Values, title: str, files: Sequence[Path]) -> None:
    """Draw what ``compute_figure`` found, and save it once per file, in the format that its suffix names."""
    _save(values, drawing(values, title), files)


def draw_small(values: Values, files: Sequence[Path]) -> None:
    """Draw an excerpt in large letters, without a title, which stays legible at a third of its size."""
    _save(values, drawing(excerpt(values), "", SMALL), files)


def drawing(values: Values, title: str, style: Style = FULL) -> Any:
    """What ``compute_figure`` found, as a matplotlib figure."""
    return lay_out(values, title, style)


def _save(values: Values, figure: Any, files: Sequence[Path]) -> None:
    import matplotlib

    # Ids in an SVG are random unless salted: the same values then give the same file. Texts stay texts: they can be found, and
    # a page can give them its ink.
    settings: Any = {"svg.hashsalt": str(values["figure"]), "svg.image_inline": True, "svg.fonttype": "none"}
    settings |= {"image.composite_image": False}  # pictures enter an SVG with their own pixels
    with matplotlib.rc_context(settings):
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".svg":
                _save_svg(figure, file)
            else:
                metadata = {"metadata": {"Software": None}} if file.suffix == ".png" else {}
                with beside(file) as part:
                    figure.savefig(part, format=file.suffix[1:], dpi=_DPI, **metadata)


def _save_svg(figure: Any, file: Path) -> None:
    """With its pictures as JPEG, which takes a fifth of PNG's bytes for photographs and heat."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})

    def smaller(match: re.Match[str]) -> str:
        jpeg = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
            image.convert("RGB").save(jpeg, "JPEG", quality=88)
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"

    text = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, buffer.getvalue())
    # matplotlib's names of clips follow the last digits of their places, which differ from machine to machine.
    for i, name in enumerate(re.findall(r'<clipPath id="(p[0-9a-f]+)"', text)):
        text = text.replace(name, f"clip{i}")
    write_text(file, text)
