"""Draw heat maps over images with pytorch-grad-cam's overlay, in colours that work in print and with colour-blindness.

Maps that are compared have one scale, so that a map without signal looks like one: the words and models of an image, and where
an image has a single map, all images of the figure. (From image to image the gradient of a match differs by a factor of fifty,
because it vanishes where the model is sure.) Grad-CAM's values span orders of magnitude; colours follow their square root.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

_IMAGE_SHARE = 0.45


def picture(example: Mapping[str, Any], side: int) -> np.ndarray:
    """Return an example's image as float32 (H, W, 3) in [0, 1], its shorter side resized to ``side`` pixels."""
    data = base64.b64decode(str(example["picture"]).partition(",")[2])
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    factor = side / min(image.size)
    image = image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
    )
    return np.asarray(image, dtype=np.float32) / 255


def hottest_values(values: Mapping[str, Any]) -> list[float]:
    """Find for each example of a figure the value that is shown hottest: of its own maps where it has several, else of all."""
    own = [
        max((max(heat, default=0.0) for heat in maps), default=0.0)
        for maps in map(_shown_maps, values["examples"])
    ]
    if values["method"] in ("words", "grounding"):
        return own
    return [max(own, default=0.0)] * len(own)


def _shown_maps(example: Mapping[str, Any]) -> list[Sequence[float]]:
    """Return the maps of an example that are shown; those of punctuation are not."""
    maps: list[Sequence[float]] = []
    for own in example["models"].values():
        maps += [own["map"]] if "map" in own else []
        maps += [
            heat
            for word, heat in zip(example["words"], own.get("maps", ()), strict=False)
            if any(letter.isalnum() for letter in word)
        ]
    return maps


def scaled(heat: Sequence[float], grid: int, width: int, height: int, top: float | None = None) -> np.ndarray:
    """Scale a map of ``grid`` x ``grid`` patches to (H, W) in [0, 1]: bicubic, 0 stays 0, ``top`` is 1, by square root between.

    The library's own scaling subtracts the smallest value, which would make an even map look uneven.

    Args:
        top: the value that is shown as 1; None: the map's own greatest.
    """
    import cv2

    patches = np.asarray(heat, dtype=np.float32).reshape(grid, grid)
    top = float(patches.max()) if top is None else top
    if top <= 0:
        return np.zeros((height, width), dtype=np.float32)
    fine = cv2.resize(np.sqrt(np.clip(patches / top, 0, 1)), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0, 1)


def overlay(image_HW3: np.ndarray, heat: Sequence[float], grid: int, top: float | None = None) -> np.ndarray:
    """Draw a map over the grey image, uint8 (H, W, 3): only heat has colour, so it cannot be confused with an object's own.

    The colour map is inferno, whose lightness rises with the heat throughout: it also works in grey.

    Args:
        top: see :func:`scaled`.
    """
    import cv2

    height, width = image_HW3.shape[:2]
    grey = np.clip(image_HW3 @ np.array([0.299, 0.587, 0.114], dtype=np.float32), 0, 1)
    mask = scaled(heat, grid, width, height, top)
    colours = cv2.applyColorMap((255 * mask).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    mixed = 255 * _IMAGE_SHARE * grey[..., None] + (1 - _IMAGE_SHARE) * colours
    return np.clip(mixed, 0, 255).astype(np.uint8)
