"""UNITER's paired attention: two image-text pairs look at each other before classification (appendix A, [5]).

Shapes: B examples, T tokens of a pair's fused sequence, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mamo.model.mamo import Mamo
from mamo.model.transformer import Attention, initialise, padding_bias


class AttentionPool(nn.Module):
    """A weighted mean over tokens, whose weights are a softmax of rectified linear scores."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Pool (B, T, D) by the mask of real tokens: (B, D)."""
        # In fp32 at least: the softmax of a long sequence has shares that bf16 rounds to one.
        scores = self.score(x_BTD)[..., 0].relu().float().masked_fill(mask_BT == 0, -1e4)
        return (self.dropout(scores.softmax(-1)).to(x_BTD.dtype)[:, None] @ x_BTD)[:, 0]


class PairedAttention(nn.Module):
    """Two sides attend to each other, are joined with what they read, pooled, and classified together.

    The two attentions have weights of their own; the joining layer and the pooling are shared, as in UNITER.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.left_to_right = Attention(width, heads, dropout)
        self.right_to_left = Attention(width, heads, dropout)
        self.join = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout))
        self.pool = AttentionPool(width, dropout)
        self.classify = nn.Linear(2 * width, 2)
        initialise(self, width)

    def forward(
        self, left_BTD: Tensor, right_BTD: Tensor, left_mask_BT: Tensor, right_mask_BT: Tensor
    ) -> Tensor:
        """Classify two fused sequences with the masks of their real tokens: logits (B, 2)."""
        # Queries from one side, keys and values from the other, whose padding is what must be hidden.
        from_right = self.left_to_right(left_BTD, padding_bias(right_mask_BT), right_BTD)
        from_left = self.right_to_left(right_BTD, padding_bias(left_mask_BT), left_BTD)
        left = self.pool(self.join(torch.cat([from_right, left_BTD], -1)), left_mask_BT)
        right = self.pool(self.join(torch.cat([from_left, right_BTD], -1)), right_mask_BT)
        return self.classify(torch.cat([left, right], -1))


def statement_logits(
    network: Mamo, pair: PairedAttention, left_BVD: Tensor, right_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor
) -> Tensor:
    """Score "false" and "true" by both images' features and the sentence: (B, 2)."""
    # The sentence is encoded once, and fused with both images in one call.
    text = network.encode_text(ids_BL, mask_BL)
    both = torch.cat([left_BVD, right_BVD])
    fused = network.fuse(both, text.repeat(2, 1, 1), mask_BL.repeat(2, 1))
    left, right = torch.cat([fused.image, fused.text], 1).chunk(2)
    mask = torch.cat([mask_BL.new_ones(left_BVD.shape[:2]), mask_BL], 1)
    return pair(left, right, mask, mask)
