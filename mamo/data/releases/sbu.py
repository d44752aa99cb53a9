"""SBU Captions: 860k photos of Flickr with their owners' titles, as downloaded by img2dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings
from mamo.data.releases.img2dataset import read_shards


def read(root: Path, findings: Findings, part: int = 0, parts: int = 1) -> Iterator[Example]:
    """Read ``sbu/*.tar``, all of them or one part."""
    return read_shards(root / "sbu", findings, part, parts)
