"""Read images and texts in any common form: one or many, paths, opened images, arrays, generators."""

from __future__ import annotations

import io
import itertools
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mamo.data.store.images import MAX_PIXELS, ImageError, formats, to_rgb

Picture = str | Path | Image.Image | np.ndarray | Tensor
Pictures = Picture | Iterable[Picture]
Texts = str | Iterable[str]

T = TypeVar("T")


def pictures(given: Pictures) -> Iterator[Picture]:
    """Yield one picture or many, one by one; a generator is read lazily.

    Args:
        given: a path, an opened image, an array (H, W), (H, W, 3 or 4) or (1 or 3, H, W), or several of them in a list, a
            generator, or an array with one dimension more.

    Raises:
        ImageError: it is none of these.
    """
    if isinstance(given, str | Path | Image.Image):
        return iter([given])
    if isinstance(given, np.ndarray | Tensor):
        return iter([given] if given.ndim < 4 else given)
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise ImageError(
            f"a {type(given).__name__} is not an image: give a path, a PIL image, an array, or a list of them"
        )
    return iter(given)


def texts_of(given: Texts) -> list[str]:
    """Return one text or many as a list.

    Raises:
        ValueError: one of them is not a text; the message says which.
    """
    if isinstance(given, str):
        return [given]
    if isinstance(given, bytes | Mapping) or not isinstance(given, Iterable):
        raise ValueError(f"a {type(given).__name__} is not a text: give a str, or a list of them")
    texts = list(given)
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {place} is a {type(text).__name__}, not a str")
    return texts


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield items in lists of ``size``, the last one shorter.

    Raises:
        ValueError: the size is not positive.
    """
    if size < 1:
        raise ValueError(f"batch_size {size}: at least one item must go through the network")
    rest = iter(items)
    while part := list(itertools.islice(rest, size)):
        yield part


def opened(picture: Picture) -> Image.Image:
    """Open a picture as an upright RGB image.

    Raises:
        ImageError: it cannot be read; the message names the file and the reason.
    """
    if isinstance(picture, str | Path):
        image = _read_image(picture)
    elif isinstance(picture, Image.Image):
        image = picture
    elif isinstance(picture, np.ndarray | Tensor):
        image = _from_array(picture)
    else:
        raise ImageError(
            f"a {type(picture).__name__} is not an image: give a path, a PIL image, or an array of pixels"
        )
    return to_rgb(ImageOps.exif_transpose(image))


def _read_image(path: str | Path) -> Image.Image:
    name = str(path)
    if "://" in name:
        raise ImageError(f"{name}: is not a file; download it and give its path")
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise ImageError(f"{name}: no such file") from error
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: {getattr(error, 'strerror', None) or error}") from error
    if not data:
        raise ImageError(f"{name}: the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged EXIF and the like: pixels are what counts
            image = Image.open(io.BytesIO(data), formats=formats())
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(
                    f"{image.width} x {image.height} pixels: more than {MAX_PIXELS} are refused as a decompression bomb"
                )
            image.load()
    except UnidentifiedImageError as error:  # Pillow's message has a memory address
        raise ImageError(f"{name}: is not an image in a known format") from error
    except ImageError as error:
        raise ImageError(f"{name}: {error}") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise ImageError(f"{name}: {type(error).__name__}: {error}") from error
    return image


def _from_array(array: np.ndarray | Tensor) -> Image.Image:
    pixels: Any = array.detach().cpu().numpy() if isinstance(array, Tensor) else array
    shape = tuple(pixels.shape)
    if pixels.ndim == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3, 4):
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if pixels.ndim not in (2, 3) or 0 in shape or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ImageError(
            f"an array of shape {shape} is not an image: (H, W), (H, W, 3), (H, W, 4) or (3, H, W) is expected"
        )
    if np.issubdtype(pixels.dtype, np.floating):
        if not (np.isfinite(pixels).all() and pixels.min() >= 0 and pixels.max() <= 1):
            raise ImageError("an array of floats is an image only if its values are from 0 to 1")
        pixels = np.rint(255 * pixels.astype(np.float64)).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(
            f"an array of {pixels.dtype} is not an image: uint8, or floats from 0 to 1, are expected"
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


def stack_images(tensors: list[Tensor], size: int) -> Tensor:
    """Stack images (3, S, S) into a batch; (0, 3, S, S) if there are none."""
    return torch.stack(tensors) if tensors else torch.zeros(0, 3, size, size)
