"""Pass a batch through the network: as a whole, or in micro-batches where it does not fit into memory at once.

A task states its losses once, for either (see :meth:`mamo.tasks.pretrain.PretrainTask.forward`): first the loss that contrasts
all pairs, from ``visual`` and ``text``; then the losses of single pairs, for each of the ``parts``:

    with through.computing():
        through.add(itc=...)
    for part in through.parts:
        with through.computing():
            through.add(itm=..., mlm=...)
    return through.result()

Every loss is the share of the whole batch's (see :mod:`mamo.objectives.batch_counts`), so that parts add up by plain sums.

Shapes: B pairs, V visual tokens, L sub-words, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mamo.model.mamo import Mamo
from mamo.tasks.accumulation import Autocast, CachedFeatures

Losses = dict[str, Tensor]
Total = Callable[[Losses], Tensor]


def plain_sum(losses: Losses) -> Tensor:
    """Add losses up."""
    return torch.stack(list(losses.values())).sum()


def rows_of(x: Tensor, part: slice) -> Tensor:
    """Return the pairs of a part; the tensor itself where these are all."""
    # A slice of everything would cost its gradient a batch of zeros and a copy.
    return x if part.start == 0 and part.stop >= len(x) else x[part]


class BatchPass(ABC):
    """One pass of a batch through the network.

    Attributes:
        visual: (B, V, D) features of all images.
        text: (B, L, D) features of all texts.
        parts: the pairs whose losses are computed at once.
    """

    visual: Tensor
    text: Tensor
    parts: list[slice]

    def __init__(self, total: Total) -> None:
        self._total = total
        self._losses: Losses = {}
        self._monitors: dict[str, list[tuple[float, Tensor]]] = {}

    @abstractmethod
    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute losses inside: in the right precision, and with their backward afterwards where the pass takes care of it."""

    def add(self, **losses: Tensor | None) -> None:
        """Take in losses; None stands for one that is switched off."""
        self._losses |= {name: loss for name, loss in losses.items() if loss is not None}

    def monitor(self, monitors: Losses, share: float = 1.0) -> None:
        """Take in detached values of pairs that are a ``share`` of the batch; the result is their mean, NaN left out."""
        for name, value in monitors.items():
            self._monitors.setdefault(name, []).append((share, value))

    def result(self) -> Losses:
        """Return ``loss``, the losses that it is made of, and the monitored values."""
        monitors = {name: _weighted_mean(values) for name, values in self._monitors.items()}
        return {"loss": self._total(self._losses), **self._losses, **monitors}


class WholeBatch(BatchPass):
    """All pairs at once; the losses keep their graph, for the caller's backward."""

    def __init__(self, network: Mamo, batch: dict[str, Any], total: Total = plain_sum) -> None:
        super().__init__(total)
        self.visual = network.encode_image(batch["image"])
        self.text = network.encode_text(batch["ids"], batch["mask"])
        # One part: the losses of single pairs are computed for all of them in one go.
        self.parts = [slice(0, len(batch["ids"]))]

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute losses inside; precision and backward are the caller's."""
        yield


class MicroBatches(BatchPass):
    """``size`` pairs at once: gradients are left on the parameters while it goes on, and losses come out detached."""

    def __init__(
        self, network: Mamo, batch: dict[str, Any], size: int, autocast: Autocast, total: Total = plain_sum
    ) -> None:
        super().__init__(total)
        self._cached = CachedFeatures(network, batch, size, autocast)
        self.visual, self.text, self.parts = self._cached.visual, self._cached.text, self._cached.parts
        self._autocast = autocast
        self._pending: Losses = {}

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute losses inside; their backward follows at once, so that only one part's graph is alive."""
        with self._autocast():
            yield
        # Outside autocast, as PyTorch wants it: gradients come in the precision of what they belong to.
        if self._pending:
            self._total(self._pending).backward()
        for name, loss in self._pending.items():
            before = self._losses.get(name, torch.zeros((), device=loss.device))
            self._losses[name] = before + loss.detach().float()
        self._pending = {}

    def add(self, **losses: Tensor | None) -> None:
        """Take in a part's shares of losses; None stands for one that is switched off."""
        self._pending |= {name: loss for name, loss in losses.items() if loss is not None}

    def result(self) -> Losses:
        """Pass the features' gradients on to the encoders, and return the sums of all parts."""
        # Last: the encoders' gradient is that of all losses, which are known only now.
        self._cached.backward()
        return super().result()


def _weighted_mean(values: list[tuple[float, Tensor]]) -> Tensor:
    """Average values by their shares, NaN left out."""
    if len(values) == 1:
        return values[0][1]
    value = torch.stack([value for _, value in values])
    # Nothing can be said of some parts (a text with one masked word has no deviation): they leave the mean alone.
    share = torch.tensor([share for share, _ in values], device=value.device).masked_fill(value.isnan(), 0.0)
    return (value.nan_to_num() * share).sum() / share.sum()
