"""Checks that the numbers of an evaluation can be true."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from mamo.specs.finetune import LocalisationSpec

_ROUNDING = 1e-6


class InvalidEvaluation(ValueError):
    """The numbers of an evaluation cannot be true; the text says which."""


def check_items(items: Mapping[str, Sequence[Any]], expected: Mapping[str, int]) -> str:
    """Check that an evaluation measured as many items as the splits hold.

    Args:
        items: columns with one entry per test item; ``direction`` or ``split`` says which sort of item it is.
        expected: sort -> how many there are; '' where there is one sort only.

    Returns:
        How many there are of each, in words.

    Raises:
        InvalidEvaluation: a sort has fewer or more.
    """
    # Retrieval has queries of two directions, grounding and NLVR2 several splits; other evaluations one sort of item.
    columns = [name for name in ("direction", "split") if name in items]
    if columns:
        counted: Mapping[str, int] = Counter(items[columns[0]])
    else:
        counted = {"": len(next(iter(items.values()), ()))}
    wrong = [
        f"{counted.get(sort, 0)} of {count}{f' ({sort})' if sort else ''}"
        for sort, count in expected.items()
        if counted.get(sort, 0) != count
    ]
    if wrong:
        raise InvalidEvaluation(
            f"the evaluation measured {', '.join(wrong)} items that the prepared splits hold, so its metrics mean something "
            "else than they say; nothing is recorded"
        )
    return ", ".join(f"{count}{f' ({sort})' if sort else ''}" for sort, count in expected.items())


def check_metrics(metrics: Mapping[str, float]) -> str:
    """Check that every metric is in its valid range: percentages in 0 to 100, counts not negative.

    Returns:
        How many were checked, in words.

    Raises:
        InvalidEvaluation: one does not.
    """
    for name, value in metrics.items():
        low, high = 0.0, math.inf if name in LocalisationSpec.COUNTS else 100.0
        if not math.isfinite(value) or not low - _ROUNDING <= value <= high + _ROUNDING:
            raise InvalidEvaluation(
                f"the metric {name} is {value:g}, which is not between {low:g} and {high:g}; nothing is recorded"
            )
    return f"{len(metrics)} metrics are within range"
