"""Karpathy's split files ``dataset_coco.json`` and ``dataset_flickr30k.json``: captions and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from mamo.data.examples import Example, Findings, ImageSource, Keys, said
from mamo.data.releases.fields import File, Records, Whole, lists

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_ORIGIN = "it comes in Karpathy's caption_datasets.zip (Deep Visual-Semantic Alignments)"


T = TypeVar("T", bound="Image")


@dataclass(slots=True)
class Sentence:
    """A caption."""

    raw: str | None
    imgid: Any = None


@dataclass(slots=True, kw_only=True)
class Listed:
    """An image as the splits list it; ``cocoid`` is COCO's number."""

    filename: File
    split: Literal["train", "restval", "val", "test"]
    cocoid: Whole | None = None


@dataclass(slots=True, kw_only=True)
class Image(Listed):
    """An image with its captions."""

    sentences: list[Sentence]
    imgid: Any = None


@dataclass(slots=True, kw_only=True)
class CocoImage(Image):
    """An image of COCO, which has several folders."""

    filepath: File


def listed(path: Path) -> Records[Listed]:
    """The images of a split file, without their captions.

    Raises:
        FormatError: no such file, or not Karpathy's form.
    """
    (images,) = lists(path, _ORIGIN, images=Listed)
    return images


def read_coco(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``coco/dataset_coco.json``: 113k training, 5k validation and 5k test images, five captions each."""
    folder = root / "coco"
    (images,) = lists(folder / "dataset_coco.json", _ORIGIN, images=CocoImage)
    return read_splits(images, lambda image: folder / image.filepath / image.filename, findings)


def read_flickr30k(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``flickr30k/dataset_flickr30k.json``: 29k training, 1k validation and 1k test images, five captions each."""
    folder = root / "flickr30k"
    (images,) = lists(folder / "dataset_flickr30k.json", _ORIGIN, images=Image)
    return read_splits(images, lambda image: folder / "flickr30k-images" / image.filename, findings)


def read_splits(images: Records[T], locate: Callable[[T], Path], findings: Findings) -> Iterator[Example]:
    """One example per image with its captions; ``restval`` counts as train.

    Args:
        images: of a split file.
        locate: the file of an image.
        findings: takes up captions and images that are left out.
    """
    keys, seen = Keys(), set[str]()
    numbers: set[int] = set()
    for image in images:
        name = image.filename
        captions = [
            said(sentence.raw, name, findings, "empty captions")
            for sentence in image.sentences
            if not _of_another(sentence, image, findings)
        ]
        file = locate(image)
        key = keys.of(name, file)
        if key in seen:
            findings.note("images listed twice", name)
            continue
        seen.add(key)
        if image.cocoid is not None:
            if image.cocoid in numbers:
                raise images.wrong(f"({name}) has 'cocoid' {image.cocoid} of another image")
            numbers.add(image.cocoid)
        records = tuple({"text": caption} for caption in captions if caption)
        if not records:
            findings.note("images without a caption", name)
            continue
        yield Example(SPLITS[image.split], (ImageSource(key, file),), records)


def _of_another(sentence: Sentence, image: Image, findings: Findings) -> bool:
    """Check whether a caption's number assigns it to another image."""
    other = None not in (sentence.imgid, image.imgid) and sentence.imgid != image.imgid
    if other:
        findings.note("captions of another image", image.filename)
    return other


def coco_ids(path: Path, splits: tuple[str, ...]) -> set[int]:
    """COCO ids of the images in some splits of ``dataset_coco.json`` (named as after merging ``restval``)."""
    found = set()
    images = listed(path)
    for image in images:
        if SPLITS[image.split] in splits:
            if image.cocoid is None:
                raise images.wrong("lacks 'cocoid'")
            found.add(image.cocoid)
    return found
