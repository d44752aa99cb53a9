"""The data sets that can be prepared, by name; light enough for planning, readers are imported when used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mamo.data.examples import Example, Findings

RecordKind = Literal["captions", "vqa", "nlvr2", "refs"]


@dataclass(frozen=True)
class Dataset:
    """A data set that can be prepared.

    Attributes:
        module: the module below ``mamo.data.releases`` that reads the release.
        kind: columns of its records.
        splits: its splits.
        function: the reader in the module.
        shares_images: whether several examples may name the same image.
        parts: into how many parts a whole release is cut that many jobs prepare side by side; no part of any identity, since
            the result does not depend on it.
        tars: whether the reader itself can read one part of the release (consecutive tar files).
        paper_images: training images that the paper counts (Table 10), where it does.
    """

    module: str
    kind: RecordKind
    splits: tuple[str, ...]
    function: str = "read"
    shares_images: bool = False
    parts: int = 1
    tars: bool = False
    paper_images: int | None = None

    def read(self, root: Path, findings: Findings) -> Iterator[Example]:
        """The release's examples."""
        return self._reader(root, findings)

    def read_tars(
        self, root: Path, findings: Findings, part: int, parts: int
    ) -> Iterator[tuple[int, Example]]:
        """The examples of one part's tars with their places; all parts' in the order of their places are the release's.

        Args:
            findings: takes up what this part leaves out.
            part: counted from 0.
        """
        for number, example in enumerate(self._reader(root, findings, part, parts)):
            yield part << 40 | number, example

    @property
    def _reader(self) -> Any:
        return getattr(importlib.import_module(f"mamo.data.releases.{self.module}"), self.function)


def parts_of(spec: Mapping[str, Any]) -> int:
    """How many parts a data run's preparation is cut into: 1 for the embedded world and for quick versions of a release."""
    whole = spec.get("source") == "release" and not spec.get("limits")
    return DATASETS[spec["dataset"]].parts if whole and spec["dataset"] in DATASETS else 1


# Cut so that a part takes a core about half an hour.
DATASETS = {
    "coco": Dataset("coco", "captions", ("train", "val", "test"), parts=4, paper_images=113_000),
    "visual_genome": Dataset("visual_genome", "captions", ("train",), parts=4, paper_images=100_000),
    "sbu": Dataset("sbu", "captions", ("train",), parts=16, tars=True, paper_images=860_000),
    "cc3m": Dataset("cc3m", "captions", ("train",), parts=48, tars=True, paper_images=2_950_000),
    "flickr30k": Dataset("flickr30k", "captions", ("train", "val", "test")),
    "flickr8k": Dataset("flickr8k", "captions", ("train", "val", "test")),
    "vqa2": Dataset("vqa2", "vqa", ("train", "val", "test"), parts=8),
    "visual_genome_qa": Dataset("visual_genome", "vqa", ("train",), function="read_qa", parts=4),
    "nlvr2": Dataset("nlvr2", "nlvr2", ("train", "dev", "test"), shares_images=True, parts=4),
    "refcoco_plus": Dataset("refcoco", "refs", ("train", "val", "testA", "testB"), shares_images=True),
}
