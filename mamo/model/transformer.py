"""Self-attention and the two transformer layers: pre-norm (ViT) and post-norm (BERT).

Small modules of our own and not timm's or transformers': importing those costs each of a DAG's many short jobs several
seconds, while loading their weights needs nothing but names (tests hold our layers equal to theirs). Attention
probabilities pass through a module of their own, ``probabilities``, which Grad-CAM hooks.

Shapes: B sequences, T tokens, S tokens that are read, H heads, N tokens of packed sequences in a row, D width.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

# Standard deviation of initial weights in BERT and ViT, and the width that it was chosen for.
STD = 0.02
BERT_WIDTH = 768


class Attention(nn.Module):
    """Multi-head attention; self-attention unless a context is given.

    On CUDA it runs as one fused kernel (scaled dot-product attention). On CPU, at the sizes that a CPU can train, plain
    matrix products are faster, and they are what an attached ``probabilities`` hook needs.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.probabilities = nn.Identity()

    def _fuses(self, x_BTD: Tensor) -> bool:
        """Tell whether one kernel does it all."""
        # A hook on the probabilities needs them to exist, and the fused kernel never makes them.
        return x_BTD.is_cuda and not self.probabilities._forward_hooks

    def forward(
        self, x_BTD: Tensor, bias: Tensor | list[Tensor] | None = None, context_BSD: Tensor | None = None
    ) -> Tensor:
        """Attend: (B, T, D) -> (B, T, D), or, for packed sequences, (N, D) -> (N, D).

        Args:
            bias: added to the scores before the softmax, broadcast to (B, H, T, S); -inf or very negative hides a token. A list
                says that tokens are packed (see :mod:`mamo.model.packing`): one (B', 1, 1, T') for each group,
                in self-attention alone.
            context_BSD: keys and values come from here in cross-attention.
        """
        # A list of biases says that tokens are packed: attention goes from group to group, the rest runs over all at once.
        if isinstance(bias, list):
            projected_ND = self._project(x_BTD, self.query, self.key, self.value)
            parts = projected_ND.split([hidden.shape[0] * hidden.shape[-1] for hidden in bias])
            mixed = []
            for part, hidden in zip(parts, bias, strict=True):
                query, key, value = self._heads(part.unflatten(0, (len(hidden), -1)), 3)
                mixed.append(self._mix(query, key, value, hidden).flatten(0, 1))
            return self.out(torch.cat(mixed))
        # Self-attention has three projections of the same tokens; a context gives keys and values of its own.
        if context_BSD is None:
            query, key, value = self._heads(self._project(x_BTD, self.query, self.key, self.value), 3)
        else:
            (query,) = self._heads(self.query(x_BTD), 1)
            key, value = self._heads(self._project(context_BSD, self.key, self.value), 2)
        return self.out(self._mix(query, key, value, bias))

    def _project(self, x: Tensor, *parts: nn.Linear) -> Tensor:
        """Project the same tokens in several ways by one product."""
        # Joined here and not in one stored matrix: BERT's and ViT's weights have a name for each.
        return F.linear(
            x, torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        )

    def _heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Split into heads: (B, T, parts * D) -> (B, H, T, D / H) of each part."""
        if self._fuses(projected):
            return tuple(
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in projected.chunk(parts, -1)
            )
        # In one copy what each of the products that follow would copy for itself.
        split = projected.unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4).contiguous()
        return split.unbind(0)

    def _mix(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """Mix values by attention: (B, H, T, D / H) -> (B, T, D)."""
        dropout = self.dropout if self.training else 0.0
        if self._fuses(query):
            mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
        else:
            # At least in fp32, also under autocast: on CPU, the softmax of short rows takes several times as long in bf16.
            scores = query @ key.transpose(-1, -2)
            scores = scores.to(torch.promote_types(scores.dtype, torch.float32)).mul_(query.shape[-1] ** -0.5)
            if bias is not None:
                scores = scores.add_(bias)
            shares = self.probabilities(scores.softmax(-1))
            mixed = F.dropout(shares, dropout).to(value.dtype) @ value
        return mixed.transpose(1, 2).flatten(2)


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (..., D) -> (..., D)."""
        return self.contract(F.gelu(self.expand(x)))


class Layer(nn.Module):
    """A transformer layer that can trade its activations for time.

    With ``checkpointing`` it keeps its input alone while training, and computes the rest once more on the way back, with the
    same dropout.
    """

    checkpointing = False

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the layer's output."""
        # Not in evaluation: Grad-CAM hooks attention there, and would meet it twice.
        if self.checkpointing and self.training and torch.is_grad_enabled():
            return checkpoint(super().__call__, *args, use_reentrant=False, **kwargs)
        return super().__call__(*args, **kwargs)


def trained_layers(module: nn.Module) -> Iterator[Layer]:
    """Yield the transformer layers of a module that gradients reach (not those of a target network)."""
    for part in module.modules():
        if isinstance(part, Layer) and any(p.requires_grad for p in part.parameters()):
            yield part


class PreNormLayer(Layer):
    """ViT's layer: x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.norm_mlp = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, int(width * mlp_ratio))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Transform (B, T, D) -> (B, T, D)."""
        x_BTD = x_BTD + self.attention(self.norm_attention(x_BTD))
        return x_BTD + self.mlp(self.norm_mlp(x_BTD))


class PostNormLayer(Layer):
    """BERT's layer: norm(x + attention(x)), optionally norm(x + cross_attention(x, context)), then norm(x + mlp(x))."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4.0, dropout: float = 0.1, cross: bool = False
    ) -> None:
        super().__init__()
        self.attention = Attention(width, heads, dropout)
        self.norm_attention = nn.LayerNorm(width, eps=1e-12)
        self.cross_attention = Attention(width, heads, dropout) if cross else None
        self.norm_cross = nn.LayerNorm(width, eps=1e-12) if cross else None
        self.mlp = FeedForward(width, int(width * mlp_ratio))
        self.norm_mlp = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x_BTD: Tensor,
        bias: Tensor | None = None,
        context_BSD: Tensor | None = None,
        context_bias: Tensor | None = None,
        among_BSD: Tensor | None = None,
    ) -> Tensor:
        """Transform (B, T, D) -> (B, T, D); biases as in :class:`Attention`.

        Args:
            context_BSD: what cross-attention reads.
            among_BSD: the whole sequence, where ``x_BTD`` are only those of its tokens whose output is read.
        """
        x_BTD = self.norm_attention(x_BTD + self.dropout(self.attention(x_BTD, bias, among_BSD)))
        if self.cross_attention is not None and self.norm_cross is not None:
            attended = self.cross_attention(x_BTD, context_bias, context_BSD)
            x_BTD = self.norm_cross(x_BTD + self.dropout(attended))
        return self.norm_mlp(x_BTD + self.dropout(self.mlp(x_BTD)))


def padding_bias(mask_BT: Tensor) -> Tensor:
    """Make a (B, 1, 1, T) bias that hides the tokens where the mask is 0."""
    # Not -inf: a row that hides every token would become NaN, and with it every gradient.
    return torch.zeros_like(mask_BT, dtype=torch.float32).masked_fill(mask_BT == 0, -1e4)[:, None, None, :]


def causal_bias(mask_BT: Tensor) -> Tensor:
    """Make a (B, 1, T, T) bias that hides padding and every later token."""
    length = mask_BT.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=mask_BT.device).triu(1)
    return padding_bias(mask_BT).expand(-1, 1, length, -1).masked_fill(later, -1e4)


def initialise(module: nn.Module, width: int) -> None:
    """Initialise as BERT and ViT do: truncated normal of standard deviation 0.02, zero biases.

    That number belongs to a width of 768; at another width, matrices take 0.02 * sqrt(768 / width).
    """
    # So that what a layer adds to its input has the same share of it: with 0.02, a network of width 128 starts all but linear
    # and learns far slower.
    scaled = STD * (BERT_WIDTH / width) ** 0.5
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=scaled if isinstance(part, nn.Linear) else STD)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
