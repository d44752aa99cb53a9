"""The data sets that can be prepared, by name; light enough for planning, readers are imported when used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mamo.data.examples import Example, Findings

Kind = Literal["captions", "vqa", "nlvr2", "refs"]


@dataclass(frozen=True)
class Dataset:
    """A data set that can be prepared.

    Attributes:
        module: the module below ``mamo.data`` that reads the release.
        kind: columns of its records.
        splits: its splits.
        function: the reader in the module.
        shares_images: whether several examples may name the same image.
    """

    module: str
    kind: Kind
    splits: tuple[str, ...]
    function: str = "read"
    shares_images: bool = False

    def read(self, root: Path, findings: Findings) -> Iterator[Example]:
        """The release's examples."""
        return getattr(importlib.import_module(f"mamo.data.{self.module}"), self.function)(root, findings)


DATASETS = {
    "coco": Dataset("coco", "captions", ("train", "val", "test")),
    "visual_genome": Dataset("visual_genome", "captions", ("train",)),
    "sbu": Dataset("sbu", "captions", ("train",)),
    "cc3m": Dataset("cc3m", "captions", ("train",)),
    "flickr30k": Dataset("flickr30k", "captions", ("train", "val", "test")),
    "flickr8k": Dataset("flickr8k", "captions", ("train", "val", "test")),
    "vqa2": Dataset("vqa2", "vqa", ("train", "val", "test")),
    "visual_genome_qa": Dataset("visual_genome", "vqa", ("train",), function="read_qa"),
    "nlvr2": Dataset("nlvr2", "nlvr2", ("train", "dev", "test"), shares_images=True),
    "refcoco_plus": Dataset("refcoco", "refs", ("train", "val", "testA", "testB"), shares_images=True),
}
