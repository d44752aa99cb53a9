"""Masked language modelling (Eq. 3).

Shapes: M masked sub-words of all texts, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.distributed import global_mean


class MlmHead(nn.Module):
    """The linear-softmax predictor h_mlm; its weights are the word embeddings, as in BERT."""

    def __init__(self, words: nn.Embedding) -> None:
        super().__init__()
        # In a list, so that this module does not register it: the embedding belongs to the text encoder.
        self._words = [words]
        self.bias = nn.Parameter(torch.zeros(words.num_embeddings))

    def forward(self, x_MD: Tensor) -> Tensor:
        """Score every entry of the vocabulary: (M, D) -> (M, vocabulary)."""
        return F.linear(x_MD, self._words[0].weight, self.bias)


def mlm_loss(head: MlmHead, fused_MD: Tensor, ids_M: Tensor, count: Tensor | None = None) -> Tensor:
    """Compute the cross-entropy of the original sub-words at the masked positions (Eq. 3).

    Args:
        fused_MD: fused representations of the masked positions alone, as logits elsewhere would be thrown away.
        ids_M: the sub-words that stood there.
        count: masked sub-words of the rank's whole batch, where this is a part of it; the parts' losses add up to its loss.
    """
    # A sum and a count, not a mean: texts have different numbers of masked sub-words, and so have ranks and micro-batches.
    total = F.cross_entropy(head(fused_MD).float(), ids_M, reduction="sum")
    return global_mean(total, ids_M.new_tensor(len(ids_M)) if count is None else count)
