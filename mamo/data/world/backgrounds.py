"""Backgrounds: six named grounds, each with its texture, in endless variation but always paler than the objects."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mamo.data.world.scene import Scene

_COLOURS = {
    "grass": (160, 190, 128),
    "sand": (226, 208, 168),
    "snow": (228, 235, 243),
    "water": (146, 192, 214),
    "wood": (178, 146, 114),
    "night": (62, 66, 104),
}
_VARIANTS = 6  # textures of each kind; place, mirroring and hue vary from image to image


@lru_cache(maxsize=128)
def _texture(kind: str, variant: int, canvas: int) -> np.ndarray:
    """Draw a texture of one and a half canvases, (H, W, 3) float32 in [0, 255]."""
    rng = np.random.default_rng([sorted(_COLOURS).index(kind), variant])
    side = canvas * 3 // 2
    unit = canvas / 192  # strokes and stars keep their share of the image
    shade = 13 * _smooth(rng, side, 5) + rng.normal(0, 2.0, (side, side))
    y = np.arange(side)[:, None] / unit
    x = np.arange(side)[None, :] / unit
    if kind == "grass":
        shade += 14 * _streaks(rng, side, round(7 * unit))
    elif kind == "sand":
        shade += rng.normal(0, 6, (side, side)) + 5 * np.sin(y / 7 + 2 * _smooth(rng, side, 4))
    elif kind == "snow":
        shade += 6 * _smooth(rng, side, 9)
    elif kind == "water":
        shade += 10 * np.sin(y / 3.2 + 2.5 * _smooth(rng, side, 8) + 0.6 * np.sin(x / 17))
    elif kind == "wood":
        grain = np.sin(y / 2.1 + 5 * _smooth(rng, side, 3))
        shade += 7 * grain + 9 * _streaks(rng, side, round(23 * unit)).T
        shade -= 40 * ((y % 38) < 1.6)  # joints between planks
    image = np.array(_COLOURS[kind], dtype=np.float32) + shade[..., None].astype(np.float32)
    if kind == "night":
        for row, column in rng.integers(0, side - 3, (90, 2)):
            width = max(1, round(unit * rng.uniform(0.7, 2.0)))
            image[row : row + width, column : column + width] += rng.uniform(40, 130)
    return image


def _smooth(rng: np.random.Generator, side: int, knots: int) -> np.ndarray:
    """Noise of long waves: random values on a coarse net, interpolated; (side, side), about unit variance."""
    net = rng.normal(0, 1.2, (knots, knots))
    at = np.linspace(0, knots - 1, side)
    rows = np.stack([np.interp(at, np.arange(knots), column) for column in net.T], axis=1)
    return np.stack([np.interp(at, np.arange(knots), row) for row in rows])


def _streaks(rng: np.random.Generator, side: int, length: int) -> np.ndarray:
    """White noise drawn out downwards by a running mean, scaled back to unit variance."""
    length = max(length, 2)
    total = np.cumsum(rng.normal(0, 1, (side + length, side)), axis=0)
    return (total[length:] - total[:-length]) / np.sqrt(length)


def paint(scene: Scene, canvas: int) -> np.ndarray:
    """Paint the background of a scene: (canvas, canvas, 3) uint8."""
    rng = np.random.default_rng(scene.texture)
    top, left, variant, mirror = rng.integers(0, [canvas // 2, canvas // 2, _VARIANTS, 2])
    part = _texture(scene.background, int(variant), canvas)[top : top + canvas, left : left + canvas]
    part = part[:, ::-1] if mirror else part
    gain = (rng.uniform(0.93, 1.05) + rng.uniform(-0.03, 0.03, 3)).astype(np.float32)
    return (part * gain).clip(0, 255).astype(np.uint8)
