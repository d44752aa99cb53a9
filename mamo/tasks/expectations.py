"""Expectations of a task's steps, for the checks of training (:mod:`mamo.training.checks`).

Shapes: B items, T tokens, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import nn


class Average(NamedTuple):
    """A network that follows another one as its moving average."""

    target: nn.Module
    online: nn.Module
    momentum: float


@dataclass(frozen=True)
class StepExpectations:
    """Conditions that hold in every step of a task.

    Attributes:
        losses: names of the losses that every step gives.
        unread: trained modules that no loss reads, so that it is right for them to have no gradient.
        average: the target network, if there is one.
        features: modules whose outputs, (B, D) or the first token of (B, T, D), must differ from item to item.
    """

    losses: tuple[str, ...] = ("loss",)
    unread: tuple[nn.Module | nn.Parameter, ...] = ()
    average: Average | None = None
    features: Mapping[str, nn.Module] = field(default_factory=dict)
