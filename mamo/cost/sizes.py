"""Look up the sizes of data sets: as prepared if they are, else as published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mamo.specs.identity import Run

STORED_BYTES = 80_000  # a photo of 640 x 480 pixels at a shorter side of 384, JPEG of quality 95


@dataclass(frozen=True)
class Sizes:
    """Counts of one data set.

    Attributes:
        images: stored images of all splits.
        records: split -> captions, questions, statements or expressions.
        shown: split -> images that its records show.
        bytes: on disk.
    """

    images: int
    records: Mapping[str, int]
    shown: Mapping[str, int]
    bytes: int


def _published_sizes(images: int, records: Mapping[str, int], shown: Mapping[str, int]) -> Sizes:
    return Sizes(images, records, shown, images * STORED_BYTES)


# Pre-training sets: the paper's Table 10. Splits: Karpathy's for COCO and Flickr30K, the owners' for the others; of VQA's
# validation images, those of Karpathy's test split are held out.
PUBLISHED = {
    "coco": _published_sizes(
        123_287,
        {"train": 566_747, "val": 25_010, "test": 25_010},
        {"train": 113_287, "val": 5_000, "test": 5_000},
    ),
    "visual_genome": _published_sizes(100_000, {"train": 769_000}, {"train": 100_000}),
    "sbu": _published_sizes(860_000, {"train": 860_000}, {"train": 860_000}),
    "cc3m": _published_sizes(2_950_000, {"train": 2_950_000}, {"train": 2_950_000}),
    "flickr30k": _published_sizes(
        31_014,
        {"train": 145_000, "val": 5_070, "test": 5_000},
        {"train": 29_000, "val": 1_014, "test": 1_000},
    ),
    "flickr8k": _published_sizes(
        8_000, {"train": 30_000, "val": 5_000, "test": 5_000}, {"train": 6_000, "val": 1_000, "test": 1_000}
    ),
    "vqa2": _published_sizes(
        160_000,
        {"train": 631_000, "val": 27_000, "test": 107_394},
        {"train": 118_000, "val": 5_000, "test": 36_807},
    ),
    "visual_genome_qa": _published_sizes(100_000, {"train": 1_390_000}, {"train": 100_000}),
    "nlvr2": _published_sizes(
        127_500,
        {"train": 86_373, "dev": 6_982, "test": 6_967},
        {"train": 103_170, "dev": 8_102, "test": 8_082},
    ),
    "refcoco_plus": _published_sizes(
        19_992,
        {"train": 120_191, "val": 10_758, "testA": 5_726, "testB": 4_889},
        {"train": 16_992, "val": 1_500, "testA": 750, "testB": 750},
    ),
}


def is_prepared(run: Run, results: Path) -> bool:
    """Check whether a data run's sizes can be read from it."""
    return (run.directory(results) / "manifest.json").is_file()


def sizes_of(run: Run, results: Path) -> Sizes:
    """Return a data run's sizes.

    Args:
        results: the scale's results, in which the run may be prepared already.

    Raises:
        KeyError: the data set has no published sizes and is not prepared.
    """
    if is_prepared(run, results):
        manifest = run.directory(results) / "manifest.json"
        stored = json.loads(manifest.read_text(encoding="utf-8"))
        splits = stored["splits"]
        return Sizes(
            stored["images"],
            {split: counts["records"] for split, counts in splits.items()},
            {split: counts["images"] for split, counts in splits.items()},
            sum(entry["bytes"] for entry in stored["files"]),
        )
    return PUBLISHED[run.spec["dataset"]]
