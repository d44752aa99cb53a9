"""Several prepared data sets of one kind as one sequence of records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mamo.data.store.manifest import Row
from mamo.data.store.records import Prepared

# Referring expressions are trained as captions (paper appendix A): their records also have an image and a text.
_LIKE = {"captions": "captions", "refs": "captions", "vqa": "vqa", "nlvr2": "nlvr2"}


@dataclass(frozen=True, slots=True)
class Item:
    """A record with its images.

    Attributes:
        record: the record's columns.
        jpegs: its images (two in NLVR2).
        image_id: number of the first image, unique over all concatenated data sets.
        weight: of the record's data set.
    """

    record: Row
    jpegs: tuple[bytes, ...]
    image_id: int
    weight: float


class ConcatRecords:
    """One split of several data sets, one after another.

    Args:
        datasets: prepared data sets of one kind (captions and refs go together).
        split: the split of each.
        weights: a weight per data set, default 1; VQA multiplies its answers' weights by it (ALBEF: 0.5 for
            Visual Genome).

    Raises:
        ValueError: kinds differ, or the weights' number is wrong.
    """

    def __init__(
        self, datasets: Sequence[Prepared], split: str = "train", weights: Sequence[float] | None = None
    ) -> None:
        kinds = {_LIKE[dataset.kind] for dataset in datasets}
        if len(kinds) != 1:
            names = ", ".join(f"{dataset.dataset} ({dataset.kind})" for dataset in datasets)
            raise ValueError(f"data sets of one kind are needed, got {names or 'none'}")
        if weights is not None and len(weights) != len(datasets):
            raise ValueError(f"{len(datasets)} data sets need as many weights, got {list(weights)}")
        self.kind = kinds.pop()
        self.datasets = tuple(datasets)
        self.weights = tuple(weights) if weights is not None else (1.0,) * len(datasets)
        self._records = [dataset.records(split) for dataset in datasets]
        self._ends = np.cumsum([len(records) for records in self._records], dtype=np.int64)
        images = np.cumsum([len(dataset.images) for dataset in datasets], dtype=np.int64)
        self._first_image = np.concatenate([[0], images[:-1]])

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def empty(self) -> list[str]:
        """The names of data sets that have no record of the split."""
        return [
            d.dataset for d, records in zip(self.datasets, self._records, strict=True) if not len(records)
        ]

    def locate(self, index: int) -> tuple[int, int]:
        """Number of the data set and place within its split.

        Raises:
            IndexError: no such record.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, int(index - (self._ends[number - 1] if number else 0))

    def record(self, index: int) -> Row:
        """Return the columns of a record, without its images."""
        number, place = self.locate(index)
        return self._records[number][place]

    def __getitem__(self, index: int) -> Item:
        number, place = self.locate(index)
        record = self._records[number][place]
        rows = [record["image"], *([record["image2"]] if "image2" in record else [])]
        images = self.datasets[number].images
        return Item(
            record=record,
            jpegs=tuple(images.jpeg(row) for row in rows),
            image_id=int(self._first_image[number]) + rows[0],
            weight=self.weights[number],
        )
