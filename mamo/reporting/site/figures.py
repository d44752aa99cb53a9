"""Prepare the published drawings for the page: vector drawings in the page's colours, with their pictures as WebP."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

_QUALITY = 80
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
# Elements that matplotlib writes; nothing else of a file gets onto the page.
_ELEMENTS = frozenset("svg g defs clipPath rect path use image text tspan pattern".split())
# Foreground and background of the file -> those of the page. Colours of data and of text on pictures stay.
_INKS = {"#000000": "currentColor", "#666666": "var(--soft)"}


def drawing(reports: Path, name: str, alt: str) -> dict[str, Any] | None:
    """A published drawing for the template: ``svg`` (markup, or None), else ``url``; ``width`` and ``height`` in pixels.

    Args:
        reports: the scale's reports.
        alt: description in words.

    Returns:
        None if neither ``NAME.svg`` nor ``NAME.png`` is published.
    """
    if (reports / f"{name}.svg").is_file():
        return _inline(reports / f"{name}.svg", name, alt)
    if (reports / f"{name}.png").is_file():
        return _picture(reports / f"{name}.png")
    return None


def _inline(path: Path, name: str, alt: str) -> dict[str, Any]:
    root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
    _only_drawing(root)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        _adapt(element, name)
    for patch in root.iter("g"):  # the background of the figure and of axes
        if re.search(r"-patch_\d+$", patch.get("id", "")):
            for path_element in patch.findall("path"):
                if path_element.get("style") == "fill: #ffffff":
                    path_element.set("style", "fill: none")
    for element in root.iter():  # only elements that are referred to need an id
        if element.tag == "g":
            element.attrib.pop("id", None)
    _, _, width, height = map(float, root.get("viewBox", "0 0 1 1").split())
    pixels = round(width * 4 / 3), round(height * 4 / 3)  # from points
    root.attrib = {
        "viewBox": root.get("viewBox", ""),
        "xmlns": _SVG.strip("{}"),
        "xmlns:xlink": "http://www.w3.org/1999/xlink",
        "role": "img",
        "aria-label": alt,
        "class": "drawing",
        "width": str(pixels[0]),
        "height": str(pixels[1]),
    }
    text = ElementTree.tostring(root, encoding="unicode")
    return {"svg": Markup(re.sub(r">\s+<", "><", text)), "width": pixels[0], "height": pixels[1]}


def _only_drawing(element: ElementTree.Element) -> None:
    for child in list(element):
        if not isinstance(child.tag, str) or child.tag.removeprefix(_SVG) not in _ELEMENTS:
            element.remove(child)
        else:
            _only_drawing(child)


def _adapt(element: ElementTree.Element, name: str) -> None:
    """Give an element the page's colours and font, ids unique on the page, and its picture as WebP."""
    element.text = (
        (element.text or "").strip() or None if element.tag not in ("text", "tspan") else element.text
    )
    element.tail = None
    attributes = {}
    for key, value in element.attrib.items():
        if key.startswith("on"):
            continue
        if key == "id":
            value = f"{name}-{value}"
        elif key == _HREF:
            key = "href"
            value = f"#{name}-{value[1:]}" if value.startswith("#") else _smaller(value)
        elif key == "style":
            value = re.sub(r"(font:(?: [a-z0-9]+)*? [\d.]+px) [^;]*", r"\1 system-ui, sans-serif", value)
            for ink, own in _INKS.items():
                value = value.replace(ink, own)
        elif key == "d":
            value = " ".join(re.sub(r"(\.\d\d)\d+", r"\1", value).split())
        attributes[key] = value.replace("url(#", f"url(#{name}-")
    element.attrib = attributes


def _smaller(url: str) -> str:
    from PIL import Image

    kind, _, data = url.partition(";base64,")
    if not kind.startswith("data:image/"):
        return ""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY, method=6)
    return _url(buffer)


def _picture(png: Path) -> dict[str, Any]:
    """Convert a drawing to WebP, a fraction of PNG's bytes; its size keeps the page from jumping while it loads."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(png) as image:
        image.convert("RGB").save(buffer, "WEBP", quality=_QUALITY, method=6)
        width, height = image.size
    return {"svg": None, "url": _url(buffer), "width": width, "height": height}


def _url(buffer: io.BytesIO) -> str:
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
