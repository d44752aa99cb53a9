"""The fusion encoder: BERT's last layers over the concatenation [visual ; text] (section 3.1).

Shapes: B pairs, N patches, P visible patches, V = 1 + N visual tokens, L sub-words, T = V + L tokens, Q tokens that are read, D
width.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mamo.model.packing import Packing
from mamo.model.transformer import PostNormLayer, initialise, padding_bias
from mamo.model.vision import interpolate_positions
from mamo.specs.model import ModelSpec


def sincos_positions(grid: int, width: int) -> Tensor:
    """Compute sines and cosines of a patch's row and column, of root mean square 0.7: (grid * grid, D).

    Their wavelengths run from 2 patches to twice the grid, so that neighbours differ and none repeats on it.
    """
    frequencies = math.pi / grid ** (torch.arange(width // 4) / max(1, width // 4 - 1))
    # Widths are shared out: a quarter each to sines and cosines of rows and of columns.
    angles = torch.arange(grid)[:, None] * frequencies
    along = torch.cat([angles.sin(), angles.cos()], 1)
    rows = along[:, None].expand(grid, grid, -1)
    columns = along[None].expand(grid, grid, -1)
    return torch.cat([rows, columns], 2).flatten(0, 1)


class Fused(NamedTuple):
    """Fused multimodal representations, split into the two modalities again."""

    image: Tensor
    """(B, 1 + N, D): the image's class token, then its patches."""
    text: Tensor
    """(B, L, D): [CLS] first."""

    @property
    def cls(self) -> Tensor:
        """(B, D): the text's [CLS], which scores a pair as in ALBEF."""
        return self.text[:, 0]


class FusionEncoder(Packing):
    """Self-attention over both modalities together.

    It owns what turns visible patches into the full set: the shared mask token, and the positions that are added to all visual
    tokens, whether the image is masked or not, so that both views reach the layers in the same form.
    """

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        patches = (spec.image_size // spec.patch_size) ** 2
        self.mask_token = nn.Parameter(torch.zeros(1, 1, spec.width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + patches, spec.width))
        self.layers = nn.ModuleList(
            PostNormLayer(spec.width, spec.heads, spec.mlp_ratio, spec.dropout)
            for _ in range(spec.fusion_layers)
        )
        initialise(self, spec.width)
        # initialise() knows linear maps and embeddings; bare parameters are ours to fill.
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        if spec.fusion_positions == "sincos":
            self.positions.data[0, 1:] = sincos_positions(spec.image_size // spec.patch_size, spec.width)
        else:
            nn.init.trunc_normal_(self.positions, std=0.02)

    def full_set(self, visible_BPD: Tensor, keep_BP: Tensor) -> Tensor:
        """Put visible features back in their places, the mask token everywhere else: (B, 1 + P, D) -> (B, V, D)."""
        batch, _, width = visible_BPD.shape
        patches = self.positions.shape[1] - 1
        full = self.mask_token.to(visible_BPD.dtype).expand(batch, patches, width)
        full = full.scatter(1, keep_BP[..., None].expand(-1, -1, width), visible_BPD[:, 1:])
        return torch.cat([visible_BPD[:, :1], full], 1)

    def forward(self, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> Fused:
        """Fuse full sets of visual tokens with text tokens."""
        x, bias = self.before_last(visual_BVD, text_BLD, mask_BL)
        x = self.layers[-1](x, bias)
        return Fused(x[:, : visual_BVD.shape[1]], x[:, visual_BVD.shape[1] :])

    def before_last(self, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Run all layers but the last; the whole sequence (B, T, D), and the bias that hides its padding."""
        # Positions are added before fusion and not in the image encoder, so that mask tokens have them too.
        visual_BVD = visual_BVD + self.positions.to(visual_BVD.dtype)
        x = torch.cat([visual_BVD, text_BLD.to(visual_BVD.dtype)], 1)
        mask_BT = torch.cat([mask_BL.new_ones(len(mask_BL), visual_BVD.shape[1]), mask_BL], 1)
        bias = padding_bias(mask_BT)
        return self.through(self.layers[:-1], x, bias, mask_BT), bias

    def last(self, read_BQD: Tensor, x_BTD: Tensor, bias: Tensor) -> Tensor:
        """Run the last layer for the tokens that are read: (B, Q, D); the others are keys and values only."""
        # ITM reads one token and the masked objectives read masked ones: with three layers this spares a fifth of the fusion
        # encoder's work, with the same result.
        return self.layers[-1](read_BQD, bias, among_BSD=x_BTD)

    def resize(self, grid: int) -> None:
        """Take ``grid`` x ``grid`` patches from now on; positions are interpolated (section 4.2)."""
        self.positions = nn.Parameter(interpolate_positions(self.positions.data, grid).clone())
