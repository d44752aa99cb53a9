"""The gradient of a whole batch from micro-batches, for batches that do not fit into memory at once.

A loss that is a mean over pairs needs no more than adding up. A contrast over all pairs does (Eq. 4, and ITM's negatives):
there the features of all pairs are computed first without keeping their history; the losses run on these features and leave
their gradients on them; then each micro-batch is encoded once more, and these gradients go back through the encoders
(gradient caching: Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021). The second
encoding draws the same dropout as the first, so the result is the gradient of one batch, at the price of one more encoding.

Shapes: B pairs of the batch, V visual tokens, L sub-words, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from mamo.data.batches.collate import Batch
from mamo.model.mamo import Mamo

Autocast = Callable[[], AbstractContextManager[Any]]


def slices(count: int, size: int) -> list[slice]:
    """Cut ``count`` pairs into micro-batches of ``size``; the last may be smaller."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def part_of(batch: Batch, part: slice) -> Batch:
    """Take rows of a batch's tensors and lists; seed, step and the like stay."""
    return {key: value[part] if isinstance(value, Tensor | list) else value for key, value in batch.items()}


class CachedFeatures:
    """Features of all images and texts of a batch, encoded in micro-batches.

    Args:
        batch: image (B, 3, S, S), ids and mask (B, L).
        size: pairs encoded at once.
        autocast: makes the context that sets the precision of an encoding.

    Attributes:
        visual: (B, V, D), a leaf that losses leave their gradients on.
        text: (B, L, D), likewise.
    """

    def __init__(self, network: Mamo, batch: Batch, size: int, autocast: Autocast) -> None:
        self._network, self._batch, self._autocast = network, batch, autocast
        self.parts = slices(len(batch["ids"]), size)
        self._states: list[_RandomState] = []
        visual, text = [], []
        with torch.no_grad():
            for part in self.parts:
                self._states.append(_RandomState(batch["ids"].device))
                images, texts = self._encode(part)
                visual.append(images)
                text.append(texts)
        # Leaves: losses stop here, and their gradients wait for the second encoding.
        self.visual = torch.cat(visual).requires_grad_()
        self.text = torch.cat(text).requires_grad_()

    def _encode(self, part: slice) -> tuple[Tensor, Tensor]:
        batch = self._batch
        # Enter autocast afresh for every encoding: its weight cache would otherwise hand bf16 copies made under no_grad to the
        # pass that needs gradients.
        with self._autocast():
            visual = self._network.encode_image(batch["image"][part])
            return visual, self._network.encode_text(batch["ids"][part], batch["mask"][part])

    def backward(self) -> None:
        """Pass the gradients of the features on to the encoders."""
        for part, state in zip(self.parts, self._states, strict=True):
            # The same dropout as at first: other features would have other gradients.
            with state.again():
                features = self._encode(part)
            # A gradient is None where no loss reads a modality's features.
            gradients = (self.visual.grad, self.text.grad)
            reached = [(f, g[part]) for f, g in zip(features, gradients, strict=True) if g is not None]
            if reached:
                torch.autograd.backward([f for f, _ in reached], [g for _, g in reached])


class _RandomState:
    """The state of the random numbers at one point, to be drawn again from there."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._cpu, self._cuda = self._present()

    def _present(self) -> tuple[Tensor, Tensor | None]:
        # Dropout on a GPU draws from the GPU's own generator.
        cuda = torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else None
        return torch.get_rng_state(), cuda

    def _set(self, cpu: Tensor, cuda: Tensor | None) -> None:
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state(cuda, self._device)

    @contextmanager
    def again(self) -> Iterator[None]:
        """Draw from the remembered state inside; afterwards go on as if nothing had been drawn."""
        before = self._present()
        self._set(self._cpu, self._cuda)
        try:
            yield
        finally:
            self._set(*before)


def add_parts(total: dict[str, Tensor], parts: dict[str, Tensor], share: float) -> None:
    """Add a micro-batch's detached parts, each times its share."""
    for name, value in parts.items():
        total[name] = total.get(name, torch.zeros((), device=value.device)) + value.detach().float() * share
