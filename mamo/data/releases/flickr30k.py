"""Flickr30K in Karpathy's splits: 29k training, 1k validation and 1k test images with five captions each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings
from mamo.data.releases.karpathy import read_splits


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``flickr30k/dataset_flickr30k.json`` and the images in ``flickr30k/flickr30k-images``."""
    folder = root / "flickr30k"
    return read_splits(
        folder / "dataset_flickr30k.json",
        lambda entry: entry.file(folder / "flickr30k-images", "filename"),
        findings,
    )
