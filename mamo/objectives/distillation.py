"""ALBEF's own extras (Li et al., Align before Fuse, 2021, section 3): a queue of momentum features, and soft targets.

MAMO does without both (Eqs. 3 and 4). They are settings for the baseline that follows ALBEF.

Shapes: B pairs of this rank, C candidates (pairs of all ranks and of the queue), M masked sub-words, E width of ITC's
projections, V entries of the vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.distributed import gather, global_mean, rank
from mamo.specs.objectives import DistillationSpec


class Pair(NamedTuple):
    """Unit-length projections of images and texts."""

    image: Tensor
    """(B, E)."""
    text: Tensor
    """(B, E)."""


def soft_share(spec: DistillationSpec, progress: float) -> float:
    """Return the weight alpha of the soft targets after a share of the run; it rises linearly over the first ``ramp``."""
    return spec.alpha * min(1.0, progress / spec.ramp) if spec.ramp else spec.alpha


class MomentumQueue(nn.Module):
    """The momentum features of the last pairs of all ranks, which widen ITC's contrast; the same on every rank.

    A ring of ``size`` pairs that the steps fill one global batch after the other.
    """

    image: Tensor
    text: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("image", torch.zeros(size, width))
        self.register_buffer("text", torch.zeros(size, width))

    def read(self, step: int, batch: int) -> Pair:
        """Return what earlier steps of ``batch`` pairs each have left: nothing at step 0."""
        # Read from the step's number and not from a pointer of its own: a resumed run goes on with the very same queue.
        filled = min(step * batch, len(self.image))
        return Pair(self.image[:filled], self.text[:filled])

    @torch.no_grad()
    def write(self, step: int, pairs: Pair) -> None:
        """Overwrite the oldest pairs with those of a step."""
        batch = len(pairs.image)
        start = step * batch % len(self.image)
        self.image[start : start + batch] = pairs.image
        self.text[start : start + batch] = pairs.text


def momentum_itc_loss(
    online: Pair, momentum: Pair, temperature: Tensor, queue: MomentumQueue | None, step: int, alpha: float
) -> Tensor:
    """Contrast online with momentum features of all ranks and of the queue, with soft targets (ALBEF, Eqs. 1 and 6).

    Args:
        online: this rank's projections.
        momentum: the same pairs' projections by the target network; no gradient reaches them.
        alpha: the weight of the target network's own similarities as targets, beside the one-hot ones.

    Returns:
        The mean over this rank's pairs. The queue takes the momentum features in afterwards.
    """
    with torch.no_grad():
        # Momentum features carry no gradient, so a plain gather of all ranks' would do as well.
        everyone = Pair(gather(momentum.image.float()), gather(momentum.text.float()))
        images, texts = everyone
        if queue is not None:
            earlier = queue.read(step, len(images))
            images, texts = torch.cat([images, earlier.image]), torch.cat([texts, earlier.text])
    own = torch.arange(len(online.image), device=images.device) + rank() * len(online.image)
    # Outside autocast: in bf16, similarities over a small tau would be off by 0.06.
    with torch.autocast(images.device.type, enabled=False):
        losses = [
            _soft_cross_entropy(ours.float(), theirs.float(), candidates, own, temperature, alpha)
            for ours, theirs, candidates in (
                (online.image, momentum.image, texts),
                (online.text, momentum.text, images),
            )
        ]
    # Only now: a pair must not meet its own features as another candidate.
    if queue is not None:
        queue.write(step, everyone)
    return 0.5 * torch.stack(losses).sum()


def _soft_cross_entropy(
    online_BE: Tensor,
    momentum_BE: Tensor,
    candidates_CE: Tensor,
    own_B: Tensor,
    temperature: Tensor,
    alpha: float,
) -> Tensor:
    logits = online_BE @ candidates_CE.T / temperature
    hard = F.cross_entropy(logits, own_B)
    if not alpha:
        return hard
    # Targets are as smooth as the similarities are: the same temperature on both sides (ALBEF).
    with torch.no_grad():
        soft = (momentum_BE @ candidates_CE.T / temperature).softmax(1)
    return (1 - alpha) * hard + alpha * F.cross_entropy(logits, soft)


def distilled_mlm_loss(
    logits_MV: Tensor, momentum_MV: Tensor, ids_M: Tensor, alpha: float, count: Tensor
) -> Tensor:
    """Compute MLM against the true sub-words and, by ``alpha``, against the target network's predictions (ALBEF, Eq. 7).

    Args:
        logits_MV: predictions at the masked positions.
        momentum_MV: the target network's predictions there.
        count: masked sub-words of this rank's whole batch, where this is a part of it; the parts' losses add up to its loss.
    """
    # In full precision: a softmax over a vocabulary is mostly made of values that bf16 rounds away.
    logits, soft = logits_MV.float(), momentum_MV.float().softmax(-1).detach()
    total = (1 - alpha) * F.cross_entropy(logits, ids_M, reduction="sum")
    return global_mean(total + alpha * F.cross_entropy(logits, soft, reduction="sum"), count)
