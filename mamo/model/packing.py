"""Sequences of like length together, so that hardly any padding is computed.

A batch of captions is padded to its longest: at the demo's scale, two of five text tokens and a fifth of the fusion encoder's
are padding that nothing reads. Packed, the batch is one row of tokens: sequences in groups of like length, each group cut to
its own longest. What works on single tokens, nearly all of a transformer, runs over the row at once; attention goes from group
to group. What it says of the real tokens is the same.

Shapes: B sequences of a batch, T tokens of each, N tokens of the packed row, D width.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class LengthGroup(NamedTuple):
    """Sequences of like length."""

    rows: Tensor
    """(B',) their places in the batch."""
    longest: int
    """Tokens of the longest of them."""


# Sequences of a group, at least: with fewer, less padding is left, but attention is made of many small products.
GROUP_SIZE = 32


class Packing(nn.Module):
    """An encoder that can pack its sequences."""

    packs = False

    def groups(self, mask_BT: Tensor) -> list[LengthGroup]:
        """Group the sequences of a batch, shortest first; no groups where they are not to be packed, or too few.

        Args:
            mask_BT: 1 for tokens, 0 for the padding that follows them.
        """
        batch = len(mask_BT)
        count = batch // GROUP_SIZE if self.packs else 1
        if count < 2:
            return []
        lengths, order = mask_BT.sum(1).sort(stable=True)
        # Groups of nearly equal size: one of a few leftovers would cost a call of every layer for itself.
        bounds = [batch * number // count for number in range(count + 1)]
        longest = lengths[[end - 1 for end in bounds[1:]]].tolist()
        # A text without tokens keeps a place, as attention over nothing is not defined.
        return [
            LengthGroup(order[a:b], max(1, most))
            for (a, b), most in zip(pairwise(bounds), longest, strict=True)
        ]

    def through(self, layers: Iterable[nn.Module], x_BTD: Tensor, padding: Tensor, mask_BT: Tensor) -> Tensor:
        """Run transformer layers over (B, T, D), packed where that is asked for; zeros where padding was cut off.

        Args:
            padding: the bias that hides padding, (B, 1, 1, T).
        """
        groups = self.groups(mask_BT)
        x: Tensor = x_BTD
        bias: Tensor | list[Tensor] = padding
        if groups:
            x, bias = pack(x_BTD, groups), [padding[rows, ..., :longest] for rows, longest in groups]
        for layer in layers:
            x = layer(x, bias)
        return unpack(x, groups, x_BTD.shape[1]) if groups else x


def set_packing(module: nn.Module, packs: bool) -> None:
    """Switch the packing of all encoders within a module."""
    for part in module.modules():
        if isinstance(part, Packing):
            part.packs = packs


def pack(x_BTD: Tensor, groups: list[LengthGroup]) -> Tensor:
    """Lay the groups' tokens in one row: (B, T, D) -> (N, D); every sequence is in exactly one group."""
    return _Pack.apply(x_BTD, groups)


def unpack(x_ND: Tensor, groups: list[LengthGroup], tokens: int) -> Tensor:
    """Invert :func:`pack`: (N, D) -> (B, T, D) of ``tokens`` tokens, zeros where padding was cut off."""
    return _Unpack.apply(x_ND, groups, tokens)


def _pack(x_BTD: Tensor, groups: list[LengthGroup]) -> Tensor:
    return torch.cat([x_BTD[:, :longest].index_select(0, rows).flatten(0, 1) for rows, longest in groups])


def _unpack(x_ND: Tensor, groups: list[LengthGroup], tokens: int) -> Tensor:
    # Zeros, not what padding would have become: nothing reads it, and a mask hides it in attention.
    x_BTD = x_ND.new_zeros(sum(len(rows) for rows, _ in groups), tokens, x_ND.shape[-1])
    parts = x_ND.split([len(rows) * longest for rows, longest in groups])
    for (rows, longest), part in zip(groups, parts, strict=True):
        x_BTD[:, :longest].index_copy_(0, rows, part.view(len(rows), longest, -1))
    return x_BTD


# Each is the other's gradient. PyTorch's own for indexing assumes that rows are taken more than once: it would fill a batch of
# zeros for every group, and add them up.
class _Pack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BTD: Tensor, groups: list[LengthGroup]) -> Tensor:
        ctx.groups, ctx.tokens = groups, x_BTD.shape[1]
        return _pack(x_BTD, groups)

    @staticmethod
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor, None]:
        return _unpack(grad_ND, ctx.groups, ctx.tokens), None


class _Unpack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, groups: list[LengthGroup], tokens: int) -> Tensor:
        ctx.groups = groups
        return _unpack(x_ND, groups, tokens)

    @staticmethod
    def backward(ctx: Any, grad_BTD: Tensor) -> tuple[Tensor, None, None]:
        return _pack(grad_BTD, ctx.groups), None, None
