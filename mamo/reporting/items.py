"""Turn a run's results per test item into a vector over test images whose mean is the metric.

Captions and questions about one image are not independent of each other, so images are resampled, each with everything asked
about it. A metric over items is then a ratio of two sums over images, and is made linear: image c contributes
``R + (s_c - R n_c) C / N``, where it holds n_c of N items with a score of s_c together, C counts images and R is the metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mamo.jobs.job import Items, Stratum
from mamo.jobs.registry import job_of

ITEMS = "items.arrow"


@dataclass(frozen=True)
class Contributions:
    """Contributions of the test images to a metric.

    Attributes:
        values: (C,) in percent; their mean is the metric.
        images: identity of these images; equal bytes mean the same test items in the same order.
    """

    values: np.ndarray
    images: bytes


def read_items(directory: Path) -> Items | None:
    """Read the columns of a run's results per item; None if it has none."""
    import pyarrow as pa

    path = directory / ITEMS
    if not path.is_file():
        return None
    with pa.memory_map(str(path), "r") as source:
        columns: dict[str, Sequence[Any]] = pa.ipc.open_file(source).read_all().to_pydict()
    return columns


def contributions(
    task: str,
    metric: str,
    items: Items,
    images_of: Mapping[str, Sequence[int]],
    metrics: Mapping[str, float],
) -> Contributions | None:
    """Compute what each image contributes to a metric.

    Args:
        task: of the downstream run, which says how its items are read.
        metric: a metric that the run records, such as ``tr_r1``.
        items: from ``read_items``.
        images_of: split -> the image of each of its records in their order, as prepared. A split that is not listed counts
            each of its items as an image of its own.
        metrics: all that the run recorded.

    Returns:
        None where the metric is not a mean over the items that are there.

    Raises:
        KeyError: nobody knows how the items of such a task are read.
    """
    strata = job_of(task).strata(metric, items, images_of, metrics)
    return _linear(strata) if strata else None


def _linear(strata: Sequence[Stratum]) -> Contributions:
    """Join strata into one vector over all their images."""
    every = np.unique(np.concatenate([stratum.images for stratum in strata]))
    values = np.zeros(len(every))
    for scores, counted, images, weight in strata:
        place = np.searchsorted(every, images[counted])
        sums = np.bincount(place, weights=scores[counted], minlength=len(every))
        counts = np.bincount(place, minlength=len(every))
        metric = sums.sum() / counts.sum()
        values += weight * (metric + (sums - metric * counts) * len(every) / counts.sum())
    return Contributions(values, every.tobytes())
