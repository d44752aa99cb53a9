"""The text encoder: BERT's embeddings and its first layers (section 3.1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mamo.model.packing import Packing
from mamo.model.transformer import PostNormLayer, initialise, padding_bias
from mamo.specs.model import ModelSpec

BERT_POSITIONS = 512


class TextEmbedding(nn.Module):
    """Word + position + segment embeddings, normalised; every sub-word is of segment 0."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocab_size, spec.width, padding_idx=0)
        self.positions = nn.Embedding(BERT_POSITIONS, spec.width)
        self.segments = nn.Embedding(2, spec.width)
        self.norm = nn.LayerNorm(spec.width, eps=1e-12)
        self.dropout = nn.Dropout(spec.dropout)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L) token ids -> (B, L, D)."""
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
        with torch.no_grad():
            self.embedding.words.weight[0].zero_()

    def forward(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """(B, L) token ids and their mask (1: a token, 0: padding) -> (B, L, D); position 0 is [CLS]."""
        return self.through(self.layers, self.embedding(ids_BL), padding_bias(mask_BL), mask_BL)
