"""Karpathy's split files ``dataset_coco.json`` and ``dataset_flickr30k.json``: captions and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings, FormatError, ImageSource, Keys, said
from mamo.data.releases.fields import Entry, document

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_MEND = "it comes in Karpathy's caption_datasets.zip (Deep Visual-Semantic Alignments)"


def entries(path: Path) -> Iterator[Entry]:
    """The ``images`` of a split file.

    Raises:
        FormatError: no such file, or not Karpathy's form.
    """
    content = document(path, _MEND)
    if not isinstance(content.values.get("images"), list) or not content.values["images"]:
        raise FormatError(f"{path}: has no list 'images', or an empty one; {_MEND}")
    return content.entries("images")


def read_coco(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``coco/dataset_coco.json``: 113k training, 5k validation and 5k test images, five captions each."""
    folder = root / "coco"
    return read_splits(
        folder / "dataset_coco.json", lambda entry: entry.file(folder, "filepath", "filename"), findings
    )


def read_flickr30k(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``flickr30k/dataset_flickr30k.json``: 29k training, 1k validation and 1k test images, five captions each."""
    folder = root / "flickr30k"
    return read_splits(
        folder / "dataset_flickr30k.json",
        lambda entry: entry.file(folder / "flickr30k-images", "filename"),
        findings,
    )


def read_splits(path: Path, locate: Callable[[Entry], Path], findings: Findings) -> Iterator[Example]:
    """One example per image with its captions; ``restval`` counts as train.

    Args:
        path: the split file.
        locate: the file of an entry's image.
        findings: takes up captions and images that are left out.
    """
    keys, seen = Keys(), set[str]()
    numbers: set[int] = set()
    for entry in entries(path):
        name, split = entry.word("filename"), entry.word("split")
        if split not in SPLITS:
            raise entry.wrong(f"({name}) has split '{split[:60]}'; known are {', '.join(SPLITS)}")
        captions = [
            said(sentence.text("raw"), name, findings, "empty captions")
            for sentence in entry.entries("sentences")
            if not _of_another(sentence, entry, name, findings)
        ]
        image = locate(entry)
        key = keys.of(name, image)
        if key in seen:
            findings.note("images listed twice", name)
            continue
        seen.add(key)
        if "cocoid" in entry:
            number = entry.integer("cocoid")
            if number in numbers:
                raise entry.wrong(f"({name}) has 'cocoid' {number} of another image")
            numbers.add(number)
        records = tuple({"text": caption} for caption in captions if caption)
        if not records:
            findings.note("images without a caption", name)
            continue
        yield Example(SPLITS[split], (ImageSource(key, image),), records)


def _of_another(sentence: Entry, entry: Entry, name: str, findings: Findings) -> bool:
    """Check whether a caption's number assigns it to another image."""
    other = "imgid" in sentence and "imgid" in entry and sentence.value("imgid") != entry.value("imgid")
    if other:
        findings.note("captions of another image", name)
    return other


def coco_ids(path: Path, splits: tuple[str, ...]) -> set[int]:
    """COCO ids of the images in some splits of ``dataset_coco.json`` (named as after merging ``restval``)."""
    return {entry.integer("cocoid") for entry in entries(path) if SPLITS.get(entry.word("split")) in splits}
