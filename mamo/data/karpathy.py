"""Karpathy's split files ``dataset_coco.json`` and ``dataset_flickr30k.json``: captions and splits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings, FormatError, ImageSource, clean, read_json

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
_MEND = "it comes in Karpathy's caption_datasets.zip (Deep Visual-Semantic Alignments)"


def entries(path: Path) -> list[dict[str, Any]]:
    """The ``images`` of a split file.

    Raises:
        FormatError: no such file, or not Karpathy's form.
    """
    content = read_json(path, _MEND)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise FormatError(f"{path}: has no list 'images'; {_MEND}")
    return content["images"]


def read_splits(
    path: Path, locate: Callable[[dict[str, Any]], Path], findings: Findings
) -> Iterator[Example]:
    """One example per image with its captions; ``restval`` counts as train.

    Args:
        path: the split file.
        locate: the file of an entry's image.
        findings: takes up captions and images that are left out.
    """
    for number, entry in enumerate(entries(path)):
        try:
            name, split, sentences = entry["filename"], entry["split"], entry["sentences"]
        except (KeyError, TypeError) as error:
            raise FormatError(f"{path}: images[{number}] lacks {error}; {_MEND}") from error
        if split not in SPLITS:
            raise FormatError(
                f"{path}: images[{number}] ({name}) has split '{split}'; known are {', '.join(SPLITS)}"
            )
        captions = [clean(sentence["raw"]) for sentence in sentences]
        for caption in captions:
            if not caption:
                findings.note("empty captions", name)
        records = tuple({"text": caption} for caption in captions if caption)
        if not records:
            findings.note("images without a caption", name)
            continue
        yield Example(SPLITS[split], (ImageSource(name, locate(entry)),), records)


def coco_ids(path: Path, splits: tuple[str, ...]) -> set[int]:
    """COCO ids of the images in some splits of ``dataset_coco.json`` (named as after merging ``restval``)."""
    return {int(entry["cocoid"]) for entry in entries(path) if SPLITS.get(entry["split"]) in splits}
