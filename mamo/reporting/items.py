"""Turn a run's results per test item into a vector over test images whose mean is the metric.

Captions and questions about one image are not independent of each other, so images are resampled, each with everything asked
about it. A metric over items is then a ratio of two sums over images, and is made linear: image c contributes
``R + (s_c - R n_c) C / N``, where it holds n_c of N items with a score of s_c together, C counts images and R is the metric.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ITEMS = "items.arrow"
KS = (1, 5, 10)


@dataclass(frozen=True)
class Contributions:
    """Contributions of the test images to a metric.

    Attributes:
        values: (C,) in percent; their mean is the metric.
        images: identity of these images; equal bytes mean the same test items in the same order.
    """

    values: np.ndarray
    images: bytes


def read_items(directory: Path) -> dict[str, Sequence[Any]] | None:
    """Read the columns of a run's results per item; None if it has none."""
    import pyarrow as pa

    path = directory / ITEMS
    if not path.is_file():
        return None
    with pa.memory_map(str(path), "r") as source:
        columns: dict[str, Sequence[Any]] = pa.ipc.open_file(source).read_all().to_pydict()
    return columns


def contributions(
    metric: str, items: Mapping[str, Sequence[Any]], images_of: Mapping[str, Sequence[int]]
) -> Contributions | None:
    """Compute what each image contributes to a metric.

    Args:
        metric: a metric that a downstream job records, such as ``tr_r1``.
        items: from ``read_items``.
        images_of: split -> the image of each of its records in their order, as prepared. A split that is not listed counts
            each of its items as an image of its own.

    Returns:
        None where the metric is not a mean over the items that are there.
    """
    if "rank" in items:
        return _retrieval(metric, items, images_of)
    if "score" in items:
        chosen = np.ones(len(items["score"]), dtype=bool)
        if metric.startswith("accuracy/"):
            chosen = np.array(items["type"]) == metric.removeprefix("accuracy/")
        elif metric != "accuracy":
            return None
        scores = np.asarray(items["score"], dtype=float)
        # The split that was evaluated is recognised by its number of questions.
        split = next((name for name in ("test", "val") if len(images_of.get(name, ())) == len(scores)), "")
        return _linear([(scores, chosen, _images(images_of, split, len(scores)), 1.0)])
    if "share" in items:
        return _localisation(metric, items)
    found = re.fullmatch(r"(\w+?)_accuracy(_\w+)?", metric)
    right = f"correct{found[2] or ''}" if found else ""
    if found and right in items:
        mine = np.array(items["split"]) == found[1]
        if not mine.any():
            return None
        scores = 100.0 * np.asarray(items[right], dtype=float)[mine]
        return _linear(
            [(scores, np.ones(len(scores), dtype=bool), _images(images_of, found[1], len(scores)), 1.0)]
        )
    return None


def _retrieval(
    metric: str, items: Mapping[str, Sequence[Any]], images_of: Mapping[str, Sequence[int]]
) -> Contributions | None:
    column = "itc_rank" if metric.startswith("itc_") else "rank"  # by similarity alone, not re-ranked
    metric = metric.removeprefix("itc_")
    found = re.fullmatch(r"(tr|ir)_r(\d+)", metric)
    if column not in items:
        return None
    if metric == "mean_recall":
        parts = [(direction, k, 1 / (2 * len(KS))) for direction in ("tr", "ir") for k in KS]
    elif found:
        parts = [(found[1], int(found[2]), 1.0)]
    else:
        return None
    direction, rank = np.array(items["direction"]), np.asarray(items[column])
    captions = _images(images_of, "test", int((direction == "ir").sum()))
    # Images are in the order in which the records first name them.
    queries = {"ir": captions, "tr": np.array(list(dict.fromkeys(captions.tolist())))}
    if len(queries["tr"]) != (direction == "tr").sum():
        queries["tr"] = np.arange((direction == "tr").sum())
        if metric == "mean_recall":  # it is not known which captions belong to which image
            return None
    strata = []
    for name, k, weight in parts:
        scores = 100.0 * (rank[direction == name] <= k)
        strata.append((scores, np.ones(len(scores), dtype=bool), queries[name], weight))
    return _linear(strata)


def _localisation(metric: str, items: Mapping[str, Sequence[Any]]) -> Contributions | None:
    found = re.fullmatch(r"(object|colour)_(share|pointing)", metric)
    if not found:
        return None
    chosen = np.array(items["what"]) == found[1]
    scores = np.asarray(items["share" if found[2] == "share" else "hit"], dtype=float)
    # Every image with a named word counts, even without a word of this sort.
    return _linear([(scores, chosen, np.unique(np.array(items["image"]), return_inverse=True)[1], 1.0)])


def _images(images_of: Mapping[str, Sequence[int]], split: str, count: int) -> np.ndarray:
    found = np.asarray(images_of.get(split, ()), dtype=np.int64)
    return found if len(found) == count else np.arange(count)


def _linear(strata: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray, float]]) -> Contributions:
    """Join strata of (scores, which of them count, their images, weight) into one vector over all their images."""
    every = np.unique(np.concatenate([images for _, _, images, _ in strata]))
    values = np.zeros(len(every))
    for scores, chosen, images, weight in strata:
        place = np.searchsorted(every, images[chosen])
        sums = np.bincount(place, weights=scores[chosen], minlength=len(every))
        counts = np.bincount(place, minlength=len(every))
        metric = sums.sum() / counts.sum()
        values += weight * (metric + (sums - metric * counts) * len(every) / counts.sum())
    return Contributions(values, every.tobytes())
