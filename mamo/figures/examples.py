"""Choose a figure's examples: drawn by its seed, never by looks, unless images are named."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mamo.data.store.images import ImageError, normalise
from mamo.data.store.records import Prepared
from mamo.data.world.truth import SceneTruth
from mamo.specs.figure import Photograph
from mamo.specs.overrides import SpecError

OWN_SIDE = (
    384  # pixels of the shorter side of a user's photo, as data sets are stored (DatasetSpec.store_size)
)
SHOWN_SIDE = 256  # pixels of the shorter side of a shown image, at most
_QUALITY = 88
# Words that name nothing visible; the word to mask is drawn from the others.
FUNCTION_WORDS = frozenset(
    "a an the is are was be there it its this that and or of to in on at by with for from as some we see one".split()
)


@dataclass(frozen=True)
class FigureExample:
    """One record with its image.

    Attributes:
        place: of the example in its figure; enters the draws of words and patches.
        key: of the image in its release.
        row: of the image in the prepared data set.
        text: caption, expression or question.
        jpeg: bytes of a photo of no data set: ``key`` is then its path or name, ``row`` is -1, and nothing is known about it.
    """

    place: int
    key: str
    row: int
    text: str
    record: dict[str, Any]
    jpeg: bytes | None = None


def own_examples(images: Sequence[Path], texts: Sequence[str], first: int = 0) -> list[FigureExample]:
    """Make examples of a user's photos, each with its text.

    Args:
        first: the place of the first one in its figure.

    Raises:
        SpecError: a file cannot be read; the message names it and the reason.
    """
    examples = []
    for place, (path, text) in enumerate(zip(images, texts, strict=True), first):
        try:
            stored = normalise(path, OWN_SIDE)
        except ImageError as error:
            raise SpecError(str(error)) from error
        # Columns with the text of a record.
        record: dict[str, Any] = {"proposals": [], "box": None, "answers": [], "weights": []}
        examples.append(FigureExample(place, str(path), -1, text, record, stored.jpeg))
    return examples


def photograph_examples(photographs: Sequence[Photograph]) -> list[FigureExample]:
    """Make examples of photographs that come with the package, under their names."""
    found = own_examples([one.path for one in photographs], [one.text for one in photographs])
    return [replace(example, key=one.name) for example, one in zip(found, photographs, strict=True)]


def choose_examples(
    data: Prepared, split: str, number: int, seed: int, images: Sequence[str] = (), texts: Sequence[str] = ()
) -> list[FigureExample]:
    """Return examples of a split.

    Args:
        number: how many different images are drawn.
        seed: of the draw among all records.
        images: keys of images to be shown instead; each with its first record.
        texts: used instead of the records' texts: one for each image, or none.

    Raises:
        SpecError: the split shows no such image.
    """
    records = data.records(split)
    order = np.random.default_rng(seed).permutation(len(records)).tolist()
    if images:
        first: dict[str, int] = {}
        for i in range(len(records)):
            first.setdefault(data.images.key(records.value(i, "image")), i)
        unknown = [key for key in images if key not in first]
        if unknown:
            near = ", ".join(list(first)[:3])
            raise SpecError(
                f"'{unknown[0]}' is not a file here, nor an image of {data.dataset}, split '{split}': give a file or a key "
                f"(its {len(first)} images are called {near}, ...)"
            )
        order = [first[key] for key in images]
    return list(_distinct(data, records, order, len(images) or number, texts))


def _distinct(
    data: Prepared, records: Any, order: list[int], number: int, texts: Sequence[str]
) -> Iterator[FigureExample]:
    seen: set[int] = set()
    for i in order:
        record = records[i]
        if record["image"] not in seen:
            seen.add(record["image"])
            text = texts[len(seen) - 1] if texts else record.get("text") or record.get("question")
            yield FigureExample(
                len(seen) - 1, data.images.key(record["image"]), record["image"], text, record
            )
            if len(seen) == number:
                return


def jpeg_of(data: Prepared | None, example: FigureExample) -> bytes:
    """Return an example's stored image."""
    if example.jpeg is not None:
        return example.jpeg
    assert data is not None, "an example of a data set comes with its data set"
    return data.images.jpeg(example.row)


def shown_image(
    data: Prepared | None, example: FigureExample, truth: SceneTruth | None
) -> tuple[str, int, int]:
    """Return the image to show, as a data URL with its width and height: the original, if the world has it."""
    original = truth.file(example.key) if truth is not None and example.key in truth else None
    jpeg = original.read_bytes() if original else jpeg_of(data, example)
    with Image.open(io.BytesIO(jpeg)) as opened:
        image = opened.convert("RGB")
    factor = SHOWN_SIDE / min(image.size)
    if factor < 1:
        image = image.resize(
            (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
        )
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=_QUALITY)
        jpeg = buffer.getvalue()
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}", image.width, image.height


def draw_word(words: Sequence[str], seed: int, place: int) -> int:
    """Draw the word to mask: one that names something, by the figure's seed and the example's place."""
    naming = [
        i for i, word in enumerate(words) if re.search(r"\w", word) and word.lower() not in FUNCTION_WORDS
    ]
    return int(np.random.default_rng((seed, place)).choice(naming or range(len(words))))


def draw_patches(grid: int, boxes: Sequence[Sequence[float]], seed: int, place: int) -> list[int]:
    """Draw the patches to mask: those that a drawn object touches; if none is known, a square a quarter of the side wide.

    Args:
        boxes: of the image's objects, as shares of its sides.
    """
    rng = np.random.default_rng((seed, place))
    if boxes:
        x0, y0, x1, y1 = boxes[int(rng.integers(len(boxes)))]
        edges = np.arange(grid + 1) / grid
        across = np.minimum(edges[1:], x1) - np.maximum(edges[:-1], x0)
        down = np.minimum(edges[1:], y1) - np.maximum(edges[:-1], y0)
        covered = np.clip(down, 0, None)[:, None] * np.clip(across, 0, None)[None] * grid**2
        touched = np.flatnonzero(covered > 0.05).tolist()  # a rim of a few pixels does not count as touching
        if touched and len(touched) < grid**2:
            return touched
    side = max(1, round(grid / 4))
    top, left = (int(rng.integers(grid - side + 1)) for _ in range(2))
    return [row * grid + column for row in range(top, top + side) for column in range(left, left + side)]
