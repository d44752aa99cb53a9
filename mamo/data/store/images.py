"""Check an image, convert it to RGB, shrink it to its stored size and encode it as JPEG."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mamo.files.reading import MAX_IMAGE, read_file

MAX_PIXELS = 100_000_000  # a larger image is taken for a decompression bomb; published sets stay far below
# Formats of photographs. Pillow knows more, some of which start other programs (Ghostscript for EPS).
FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "PPM", "TGA", "ICO")
JPEG_QUALITY = 95
_ORIENTATION = 0x0112


class ImageError(ValueError):
    """An image is missing, unreadable or refused; the message says which and why."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """A checked image.

    Attributes:
        jpeg: RGB JPEG; its shorter side is at most the store size.
        width: pixels of the original as displayed (after EXIF rotation).
        height: pixels of the original as displayed.
    """

    jpeg: bytes
    width: int
    height: int


def normalise(source: bytes | Path, store_size: int) -> StoredImage:
    """Check an image and bring it into the stored form.

    The bytes are kept as they are when they already are an upright RGB JPEG whose shorter side is at most
    ``store_size``; otherwise the image is rotated as its EXIF says, converted to RGB, shrunk (never enlarged)
    and encoded at quality 95.

    Args:
        source: an encoded image or the path of one.
        store_size: largest length of the shorter side in pixels.

    Raises:
        ImageError: the file is missing, no regular file, larger than ``MAX_IMAGE`` bytes, cannot be decoded, or has more than
            ``MAX_PIXELS`` pixels.
    """
    name = str(source) if isinstance(source, Path) else f"{len(source)} bytes"
    try:
        data = read_file(source, MAX_IMAGE) if isinstance(source, Path) else source
    except ValueError as error:
        raise ImageError(f"{name!r}: {error}") from error
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except OSError as error:
        raise ImageError(f"{name}: {error.strerror or error}") from error
    if not data:
        raise ImageError(f"{name}: the file is empty")
    try:
        return _decode_and_resize(data, store_size)
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except (
        UnidentifiedImageError
    ) as error:  # Pillow's message has a memory address, which differs in every process
        raise ImageError(f"{name}: is not an image in a known format") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise ImageError(f"{name}: {type(error).__name__}: {error}") from error


def _decode_and_resize(data: bytes, store_size: int) -> StoredImage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit below is ours
        warnings.simplefilter("ignore", UserWarning)  # damaged EXIF and the like: pixels are what counts
        image = Image.open(io.BytesIO(data), formats=formats())
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{width} x {height} pixels: more than {MAX_PIXELS} are refused as a decompression bomb"
        )
    rotation = image.getexif().get(_ORIENTATION, 1)
    plain = image.format == "JPEG" and image.mode == "RGB" and rotation == 1
    short = min(width, height)
    if short > store_size:
        # The JPEG decoder shrinks by 2, 4 or 8 for free; twice the wanted size is left for a clean resize.
        factor = 2 * store_size / short
        image.draft(None, (max(1, int(width * factor)), max(1, int(height * factor))))
    image.load()
    if rotation in (5, 6, 7, 8):
        width, height = height, width
    if plain and short <= store_size:
        return StoredImage(data, width, height)
    upright = ImageOps.exif_transpose(image) if rotation != 1 else image
    rgb = to_rgb(upright)
    if short > store_size:
        rgb = rgb.resize(
            (max(1, round(width * store_size / short)), max(1, round(height * store_size / short))),
            Image.Resampling.BICUBIC,
        )
    out = io.BytesIO()
    rgb.save(out, "JPEG", quality=JPEG_QUALITY)
    return StoredImage(out.getvalue(), width, height)


def formats() -> list[str]:
    """List those of ``FORMATS`` that this Pillow can read."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of any mode to RGB.

    Raises:
        ImageError: the range of its grey levels is unknown.
    """
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):  # keep the upper eight bits, where Pillow would clip
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "P":
        image = image.convert(
            "RGBA"
        )  # palettes may hold transparent entries, which a direct conversion warns about
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey levels of 32 bits, whole numbers or fractions, as eight bits; their file does not say which number is white.

    It is taken to be 1, 255 or 65535, whichever the brightest pixel comes near; resampling may overshoot a little.
    """
    low, high = float(values.min()), float(values.max())
    whites = [white for white in (1, 255, 65535) if white / 16 <= high <= 1.05 * white] or [1]
    white = whites[0]
    if not (-0.05 * white <= low and high <= 1.05 * white):  # also false for NaN
        raise ImageError(f"grey levels from {low:g} to {high:g}: white is known as 1, 255 or 65535")
    levels = values.clip(0, white)
    if white == 65535:
        return (levels.astype(np.uint16) >> 8).astype(np.uint8)
    return np.rint(levels * np.float32(255 // white)).astype(np.uint8)
