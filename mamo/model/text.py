"""The text encoder: BERT's embeddings and its first layers (section 3.1).

Shapes: B texts, L sub-words, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mamo.model.packing import Packing
from mamo.model.transformer import PostNormLayer, initialise, padding_bias
from mamo.specs.model import ModelSpec

# As many as BERT has, whatever max_words is: the published embedding is loaded whole.
BERT_POSITIONS = 512


class TextEmbedding(nn.Module):
    """Word + position + segment embeddings, normalised."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, spec.width, padding_idx=0)
        self.positions = nn.Embedding(BERT_POSITIONS, spec.width)
        self.segments = nn.Embedding(2, spec.width)
        self.norm = nn.LayerNorm(spec.width, eps=1e-12)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Embed token ids: (B, L) -> (B, L, D)."""
        # Every sub-word is of segment 0: there is never a second sentence.
        positions = self.positions.weight[: ids_BL.shape[1]]
        return self.dropout(self.norm(self.words(ids_BL) + positions + self.segments.weight[0]))


class TextEncoder(Packing):
    """The first ``text_layers`` layers of BERT."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        self.embedding = TextEmbedding(spec, vocab_size)
        self.layers = nn.ModuleList(
            PostNormLayer(spec.width, spec.heads, spec.mlp_ratio, spec.dropout)
            for _ in range(spec.text_layers)
        )
        initialise(self, spec.width)
        # initialise() has filled padding's row too, which BERT keeps at zero.
        with torch.no_grad():
            self.embedding.words.weight[0].zero_()

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Encode token ids with their mask (1: a token, 0: padding): (B, L, D); position 0 is [CLS]."""
        return self.through(self.layers, self.embedding(ids_BL), padding_bias(mask_BL), mask_BL)
