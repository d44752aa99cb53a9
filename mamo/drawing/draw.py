"""Draw maps with matplotlib, to files and for notebooks."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mamo.drawing.layouts import FULL, SMALL, Style, excerpt, lay_out
from mamo.files.writing import atomic_write, write_text

Values = Mapping[str, Any]
_DPI = 200


def draw_figure(values: Values, title: str, files: Sequence[Path]) -> None:
    """Draw the values from ``compute_figure`` and save them to each file, in the format of its suffix."""
    _save(values, lay_out_drawing(values, title), files)


def draw_small(values: Values, files: Sequence[Path]) -> None:
    """Draw an excerpt in large letters, without a title, which stays legible at a third of its size."""
    _save(values, lay_out_drawing(excerpt(values), "", SMALL), files)


def lay_out_drawing(values: Values, title: str, style: Style = FULL) -> Any:
    """Draw the values from ``compute_figure`` as a matplotlib figure."""
    return lay_out(values, title, style)


def _save(values: Values, figure: Any, files: Sequence[Path]) -> None:
    import matplotlib

    # Salted ids make the same values give the same SVG; otherwise they are random. Texts stay texts, so that they can be
    # searched and take the page's colour.
    settings: Any = {"svg.hashsalt": str(values["figure"]), "svg.image_inline": True, "svg.fonttype": "none"}
    settings |= {"image.composite_image": False}  # pictures keep their own pixels in an SVG
    with matplotlib.rc_context(settings):
        for file in files:
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.suffix == ".svg":
                _save_svg(figure, file)
            else:
                metadata = {"metadata": {"Software": None}} if file.suffix == ".png" else {}
                with atomic_write(file) as part:
                    figure.savefig(part, format=file.suffix[1:], dpi=_DPI, **metadata)


def _save_svg(figure: Any, file: Path) -> None:
    """Save an SVG with its pictures as JPEG: a fifth of PNG's bytes for photographs and heat maps."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})

    def smaller(match: re.Match[str]) -> str:
        jpeg = io.BytesIO()
        with Image.open(io.BytesIO(base64.b64decode(match[1]))) as image:
            image.convert("RGB").save(jpeg, "JPEG", quality=88)
        return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"

    text = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", smaller, buffer.getvalue())
    # matplotlib names clips after the last digits of their positions, which differ between machines.
    for i, name in enumerate(re.findall(r'<clipPath id="(p[0-9a-f]+)"', text)):
        text = text.replace(name, f"clip{i}")
    write_text(file, text)
