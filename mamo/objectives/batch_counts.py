"""Weigh the losses of parts of a batch so that they add up to the loss of the whole batch.

A step runs over a whole batch at once or over its micro-batches one by one. Every objective returns a micro-batch's share of
the whole batch's loss, so that shares add up by plain sums. Which share that is, the objective knows:

- where every pair counts the same (ITM's three judgements, MIM's masked patches), a micro-batch's mean counts by its pairs;
- where pairs differ (masked sub-words), a micro-batch's sum is divided by the number in the whole batch.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class BatchCounts(NamedTuple):
    """Numbers of pairs and of masked positions in a rank's whole batch."""

    pairs: int
    words: Tensor
    """Masked sub-words of all texts: a scalar."""
    patches: Tensor
    """Masked patches of all images: a scalar."""

    def share(self, pairs: int) -> float:
        """Return the share of the batch that so many pairs are."""
        return pairs / self.pairs
