"""What a sound step and a sound evaluation of a task look like, for the checks of training (:mod:`mamo.training.checks`)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from torch import nn

# Metrics that are no percentages: counts of what was measured.
COUNTS = "_words"
_ROUNDING = 1e-6


class Average(NamedTuple):
    """A network that follows another one."""

    target: nn.Module
    online: nn.Module
    momentum: float


@dataclass(frozen=True)
class Sound:
    """What the loop may expect of a task's steps.

    Attributes:
        parts: the losses that every step gives.
        unread: trained parts that no loss reads, which rightly have no gradient.
        average: the target network, if there is one.
        features: modules whose outputs, (B, D) or the first token of (B, T, D), must differ from item to item.
    """

    parts: tuple[str, ...] = ("loss",)
    unread: tuple[nn.Module | nn.Parameter, ...] = ()
    average: Average | None = None
    features: Mapping[str, nn.Module] = field(default_factory=dict)


class UnsoundEvaluation(ValueError):
    """An evaluation whose numbers cannot be true; the text says which."""


def check_items(items: Mapping[str, Sequence[Any]], expected: Mapping[str, int]) -> str:
    """Compare the items of an evaluation with what the splits hold.

    Args:
        items: columns with one entry per test item; ``direction`` or ``split`` says which sort of item it is.
        expected: sort -> how many there are; '' where there is one sort only.

    Returns:
        how many there are of each, in words.

    Raises:
        UnsoundEvaluation: a sort has fewer or more.
    """
    columns = [name for name in ("direction", "split") if name in items]
    if columns:
        found: Mapping[str, int] = Counter(items[columns[0]])
    else:
        found = {"": len(next(iter(items.values()), ()))}
    wrong = [
        f"{found.get(sort, 0)} of {count}{f' ({sort})' if sort else ''}"
        for sort, count in expected.items()
        if found.get(sort, 0) != count
    ]
    if wrong:
        raise UnsoundEvaluation(
            f"the evaluation measured {', '.join(wrong)} items that the prepared splits hold, so its metrics mean something "
            "else than they say; nothing is recorded"
        )
    return ", ".join(f"{count}{f' ({sort})' if sort else ''}" for sort, count in expected.items())


def check_metrics(metrics: Mapping[str, float]) -> str:
    """Check that every metric is in its valid range: percentages between 0 and 100, counts not negative.

    Returns:
        what was looked at, in words.

    Raises:
        UnsoundEvaluation: one does not.
    """
    for name, value in metrics.items():
        low, high = 0.0, math.inf if name.endswith(COUNTS) else 100.0
        if not math.isfinite(value) or not low - _ROUNDING <= value <= high + _ROUNDING:
            raise UnsoundEvaluation(
                f"the metric {name} is {value:g}, which is not between {low:g} and {high:g}; nothing is recorded"
            )
    return f"{len(metrics)} metrics lie where they can"
