"""Heat maps over images, through pytorch-grad-cam's overlay, in colours that stay apart with colour-blindness and in print."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

_IMAGE_SHARE = 0.45


def picture(example: Mapping[str, Any], side: int) -> np.ndarray:
    """An example's image as float32 (H, W, 3) in [0, 1], its shorter side resized to ``side`` pixels."""
    data = base64.b64decode(str(example["picture"]).partition(",")[2])
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGB")
    factor = side / min(image.size)
    image = image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
    )
    return np.asarray(image, dtype=np.float32) / 255


def scaled(heat: Sequence[float], grid: int, width: int, height: int) -> np.ndarray:
    """A map of ``grid`` x ``grid`` patches as (H, W) in [0, 1]: bicubic, 0 stays 0 and the hottest patch is 1.

    The library's own scaling would subtract the least value and so make an even map look uneven.
    """
    import cv2

    patches = np.asarray(heat, dtype=np.float32).reshape(grid, grid)
    top = float(patches.max())
    if top <= 0:
        return np.zeros((height, width), dtype=np.float32)
    fine = cv2.resize(patches / top, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0, 1)


def overlay(image_HW3: np.ndarray, heat: Sequence[float], grid: int) -> np.ndarray:
    """A map over the image in grey, uint8 (H, W, 3): only the heat has colour, so an object's own cannot be taken for it.

    The colours are inferno's, whose lightness rises with the heat all the way: they also read in grey.
    """
    import cv2
    from pytorch_grad_cam.utils.image import show_cam_on_image

    height, width = image_HW3.shape[:2]
    grey = np.repeat(image_HW3 @ np.array([[0.299], [0.587], [0.114]], dtype=np.float32), 3, axis=2)
    mask = scaled(heat, grid, width, height)
    if not mask.any():  # the library would stretch what is left to full brightness
        return (255 * _IMAGE_SHARE * grey).astype(np.uint8)
    shown: np.ndarray = show_cam_on_image(
        np.clip(grey, 0, 1), mask, use_rgb=True, colormap=cv2.COLORMAP_INFERNO, image_weight=_IMAGE_SHARE
    )
    return shown
