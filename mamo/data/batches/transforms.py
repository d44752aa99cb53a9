"""Stored JPEG to model input: crop, flip, RandAugment, normalisation (paper section 4.2; details from ALBEF).

All randomness comes from the generator that is passed in, in a fixed order of draws.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps

from mamo.specs.transforms import RandAugmentSpec, TransformSpec

RelativeBox = tuple[float, float, float, float]

_SIDES = re.compile(r"\b(left|right)(most|hand|ward|wards)?\b", re.IGNORECASE)
_RESAMPLING = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_BILINEAR = Image.Resampling.BILINEAR
_MAX_MAGNITUDE = 10


def names_a_side(texts: Sequence[str]) -> bool:
    """Check whether any text has the word left or right, which a flip would make false."""
    return any(_SIDES.search(text) for text in texts)


class StandardiseChannels:
    """RGB image to float32 (3, S, S), standardised by channel."""

    def __init__(self, spec: TransformSpec) -> None:
        mean, std = np.array(spec.mean, dtype=np.float32), np.array(spec.std, dtype=np.float32)
        self._scale = (1 / (255 * std)).astype(np.float32)[:, None, None]
        self._shift = (-mean / std).astype(np.float32)[:, None, None]

    def __call__(self, image: Image.Image) -> torch.Tensor:
        pixels = np.asarray(image).transpose(2, 0, 1).astype(np.float32, order="C")
        pixels *= self._scale
        pixels += self._shift
        return torch.from_numpy(pixels)


def _open_jpeg(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    # Stored images are already RGB; converting another one costs a full decode.
    return image if image.mode == "RGB" else image.convert("RGB")


def _resize(image: Image.Image, box: RelativeBox, size: int, resampling: Image.Resampling) -> Image.Image:
    """Resize the box of the image to size x size; the JPEG is decoded at 1/2, 1/4 or 1/8 where that suffices."""
    width, height = image.size
    full_size = math.ceil(width * size / (box[2] - box[0])), math.ceil(height * size / (box[3] - box[1]))
    image.draft("RGB", (min(full_size[0], width), min(full_size[1], height)))
    if image.size != (width, height):
        across, down = image.size[0] / width, image.size[1] / height
        box = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    return image.resize((size, size), resampling, box=box)


class EvalTransform:
    """Resize to S x S (aspect not kept, as in ALBEF) and normalise."""

    def __init__(self, spec: TransformSpec) -> None:
        self.spec = spec
        self._normalise = StandardiseChannels(spec)

    def __call__(self, jpeg: bytes) -> torch.Tensor:
        """Turn a stored JPEG into float32 (3, S, S)."""
        return self.image(_open_jpeg(jpeg))

    def image(self, image: Image.Image) -> torch.Tensor:
        """Turn an RGB image into float32 (3, S, S)."""
        box = (0.0, 0.0, float(image.size[0]), float(image.size[1]))
        return self._normalise(_resize(image, box, self.spec.size, _RESAMPLING[self.spec.interpolation]))


class TrainTransform:
    """Random resized crop, flip, RandAugment, normalisation; each part as the spec says."""

    def __init__(self, spec: TransformSpec) -> None:
        self.spec = spec
        self._normalise = StandardiseChannels(spec)

    def __call__(self, jpeg: bytes, texts: Sequence[str], generator: np.random.Generator) -> torch.Tensor:
        """Turn a stored JPEG into float32 (3, S, S).

        Args:
            jpeg: the stored image.
            texts: all that is said of it; no flip where any of them says left or right.
            generator: the example's random numbers.
        """
        return self._normalise(self.augment(jpeg, texts, generator))

    def augment(self, jpeg: bytes, texts: Sequence[str], generator: np.random.Generator) -> Image.Image:
        """Augment the RGB image, before normalisation."""
        spec = self.spec
        image = _open_jpeg(jpeg)
        box = (0.0, 0.0, float(image.size[0]), float(image.size[1]))
        if spec.crop_scale is not None:
            box = random_box(image.size, spec.crop_scale, spec.crop_ratio, generator)
        image = _resize(image, box, spec.size, _RESAMPLING[spec.interpolation])
        flipped = generator.random() < spec.flip
        if flipped and not names_a_side(texts):
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image if spec.randaugment is None else randaugment(image, spec.randaugment, generator)


def random_box(
    size: tuple[int, int],
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
) -> RelativeBox:
    """Draw a box with a random share of the area and a random aspect, as in torchvision's RandomResizedCrop.

    Ten attempts; then the largest central box whose aspect is within ``ratio``.
    """
    width, height = size
    for _ in range(10):
        area = width * height * generator.uniform(*scale)
        aspect = math.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            x, y = int(generator.integers(width - w + 1)), int(generator.integers(height - h + 1))
            return float(x), float(y), float(x + w), float(y + h)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, max(1, round(height * aspect))), min(height, max(1, round(width / aspect)))
    x, y = (width - w) // 2, (height - h) // 2
    return float(x), float(y), float(x + w), float(y + h)


Operation = Callable[[Image.Image, RandAugmentSpec, float], Image.Image]


def _factor(spec: RandAugmentSpec) -> float:
    """Return the strength of an enhancement: 0.1 to 1.9, where 1 changes nothing."""
    return spec.m / _MAX_MAGNITUDE * 1.8 + 0.1


def _affine(
    image: Image.Image, spec: RandAugmentSpec, matrix: tuple[float, float, float, float, float, float]
) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, _BILINEAR, fillcolor=(spec.fill,) * 3)


def _shear(spec: RandAugmentSpec, sign: float) -> float:
    return sign * spec.m / _MAX_MAGNITUDE * 0.3


def _shift(spec: RandAugmentSpec, sign: float) -> float:
    return sign * spec.m / _MAX_MAGNITUDE * spec.translate


def _rotate(image: Image.Image, spec: RandAugmentSpec, sign: float) -> Image.Image:
    return image.rotate(sign * spec.m / _MAX_MAGNITUDE * 30, _BILINEAR, fillcolor=(spec.fill,) * 3)


# ALBEF's ten operations; geometric ones in a random direction.
OPERATIONS: dict[str, Operation] = {
    "Identity": lambda image, spec, sign: image,
    "AutoContrast": lambda image, spec, sign: ImageOps.autocontrast(image),
    "Equalize": lambda image, spec, sign: ImageOps.equalize(image),
    "Brightness": lambda image, spec, sign: ImageEnhance.Brightness(image).enhance(_factor(spec)),
    "Sharpness": lambda image, spec, sign: ImageEnhance.Sharpness(image).enhance(_factor(spec)),
    "ShearX": lambda image, spec, sign: _affine(image, spec, (1, _shear(spec, sign), 0, 0, 1, 0)),
    "ShearY": lambda image, spec, sign: _affine(image, spec, (1, 0, 0, _shear(spec, sign), 1, 0)),
    "TranslateX": lambda image, spec, sign: _affine(image, spec, (1, 0, _shift(spec, sign), 0, 1, 0)),
    "TranslateY": lambda image, spec, sign: _affine(image, spec, (1, 0, 0, 0, 1, _shift(spec, sign))),
    "Rotate": _rotate,
}
_NAMES = tuple(OPERATIONS)


def randaugment(image: Image.Image, spec: RandAugmentSpec, generator: np.random.Generator) -> Image.Image:
    """Apply RandAugment: ``n`` operations drawn with replacement, each applied with the spec's probability."""
    drawn = generator.integers(len(_NAMES), size=spec.n)
    applied = generator.random(spec.n) < spec.probability
    signs = np.where(generator.random(spec.n) < 0.5, -1.0, 1.0)
    for number, apply, sign in zip(drawn, applied, signs, strict=True):
        if apply:
            image = OPERATIONS[_NAMES[number]](image, spec, float(sign))
    return image
