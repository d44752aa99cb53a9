"""Conceptual Captions 3M: 2.95M web images with cleaned alt texts, as downloaded by img2dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings
from mamo.data.releases.img2dataset import read_shards


def read(root: Path, findings: Findings, part: int = 0, parts: int = 1) -> Iterator[Example]:
    """Read ``cc3m/*.tar``, all of them or one part."""
    return read_shards(root / "cc3m", findings, part, parts)
