"""The JSON files of a prepared data set as types: the manifest, and the accounts of parts and shares."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class FileEntry(TypedDict):
    """One file, with what shows whether it is whole."""

    file: str
    rows: int
    bytes: int
    sha256: str


class SplitCounts(TypedDict):
    """Records of a split, and the images that they show."""

    images: int
    records: int


class LeftOut(TypedDict):
    """Records that a reader left out for one reason: their number, and the first of them by name."""

    count: int
    named: list[str]


class Manifest(TypedDict):
    """``manifest.json``, written last: where it exists, the data set is whole."""

    dataset: str
    kind: str
    store_size: int
    images: int
    splits: dict[str, SplitCounts]
    missing: list[str]
    unreadable: list[str]
    left_out: NotRequired[dict[str, LeftOut]]
    interleave: NotRequired[int]
    limits: NotRequired[dict[str, int]]
    files: list[FileEntry]


class PartAccount(TypedDict):
    """The account of one part of a preparation."""

    dataset: str
    store_size: int
    examples: int
    images: int
    counts: dict[str, int]
    named: dict[str, list[str]]
    tallies: NotRequired[dict[str, dict[str, int]]]
    file: FileEntry


class ShareAccount(TypedDict):
    """The account of the shares into which one reading of a release divides it."""

    dataset: str
    counts: dict[str, int]
    named: dict[str, list[str]]
    tallies: dict[str, dict[str, int]]
    files: list[FileEntry]


class PartRow(TypedDict):
    """One example in a part's file."""

    place: int
    split: str
    records: str
    images: list[PartImage]


class PartImage(TypedDict):
    """One image in a part's file; ``jpeg`` is None where it is missing or stands in an earlier example."""

    key: str
    jpeg: bytes | None
    width: int
    height: int
    error: str | None
    absent: bool


Row = dict[str, Any]
"""A record's columns by name; its kind says which (``SCHEMAS`` in :mod:`mamo.data.store.writer`)."""


def dataset_statistics(manifest: Manifest, split: str | None = "train") -> dict[str, Any]:
    """One data set's row of the paper's Table 10: ``{dataset, images, texts}``.

    Args:
        manifest: of a prepared data set.
        split: the split to count; Table 10 counts what pre-training sees, i.e. ``train``. ``None`` counts all splits.

    Raises:
        KeyError: the data set has no such split.
    """
    splits = manifest["splits"]
    images = manifest["images"] if split is None else splits[split]["images"]
    texts = sum(counts["records"] for name, counts in splits.items() if split in (None, name))
    return {"dataset": manifest["dataset"], "images": images, "texts": texts}
