"""COCO captions in Karpathy's splits: 113k training, 5k validation and 5k test images, five captions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings
from mamo.data.releases.karpathy import read_splits


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``coco/dataset_coco.json`` and the images in ``coco/train2014`` and ``coco/val2014``."""
    folder = root / "coco"
    return read_splits(
        folder / "dataset_coco.json", lambda entry: entry.file(folder, "filepath", "filename"), findings
    )
