"""The data sets that can be prepared, by name; light enough for planning, readers are imported when used."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings
from mamo.specs.releases import RELEASES, RecordKind


@dataclass(frozen=True)
class Dataset:
    """A data set that can be prepared.

    Attributes:
        name: of the data set, as :data:`mamo.specs.releases.RELEASES` lists it.
        module: the module below ``mamo.data.releases`` that reads the release.
        function: the reader in the module.
        extra: a function of the module that writes what a prepared data set has beside its records.
        shares_images: whether several examples may name the same image.
        parts: number of parts of a whole release that jobs prepare in parallel; not in any identity, since the result does
            not depend on it.
        tars: whether the reader itself can read one part of the release (consecutive tar files).
        paper_images: training images that the paper counts (Table 10), where it does.
    """

    name: str
    module: str
    function: str = "read"
    extra: str | None = None
    shares_images: bool = False
    parts: int = 1
    tars: bool = False
    paper_images: int | None = None

    @property
    def kind(self) -> RecordKind:
        """Columns of its records."""
        return RELEASES[self.name].kind

    @property
    def splits(self) -> tuple[str, ...]:
        """Its splits."""
        return RELEASES[self.name].splits

    def read(self, root: Path, findings: Findings) -> Iterator[Example]:
        """Read the release's examples."""
        return self._reader(root, findings)

    def read_tars(
        self, root: Path, findings: Findings, part: int, parts: int
    ) -> Iterator[tuple[int, Example]]:
        """Read the examples of one part's tars with their places; all parts' in the order of their places are the release's.

        Args:
            findings: takes up what this part leaves out.
            part: counted from 0.
        """
        for number, example in enumerate(self._reader(root, findings, part, parts)):
            yield part << 40 | number, example

    def write_extra(self, root: Path, out: Path, findings: Findings) -> None:
        """Write what a prepared data set has beside its records, such as VQA's answer candidates."""
        if self.extra is not None:
            self._function(self.extra)(root, out, findings)

    @property
    def _reader(self) -> Any:
        return self._function(self.function)

    def _function(self, name: str) -> Any:
        return getattr(importlib.import_module(f"mamo.data.releases.{self.module}"), name)


def part_count(spec: Mapping[str, Any]) -> int:
    """Return how many parts a data run is prepared in: 1 for the embedded world and for quick versions of a release."""
    whole = spec.get("source") == "release" and not spec.get("limits")
    return DATASETS[spec["dataset"]].parts if whole and spec["dataset"] in DATASETS else 1


# Sized so that a part takes a core about half an hour.
DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset("coco", "karpathy", "read_coco", parts=4, paper_images=113_000),
        Dataset("visual_genome", "visual_genome", parts=4, paper_images=100_000),
        Dataset("sbu", "img2dataset", "read_sbu", parts=16, tars=True, paper_images=860_000),
        Dataset("cc3m", "img2dataset", "read_cc3m", parts=48, tars=True, paper_images=2_950_000),
        Dataset("flickr30k", "karpathy", "read_flickr30k"),
        Dataset("flickr8k", "flickr8k"),
        Dataset("vqa2", "vqa2", extra="write_candidates", parts=8),
        Dataset("visual_genome_qa", "visual_genome", "read_qa", parts=4),
        Dataset("nlvr2", "nlvr2", shares_images=True, parts=4),
        Dataset("refcoco_plus", "refcoco", shares_images=True),
    )
}
