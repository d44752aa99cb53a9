"""The image encoder: a ViT that can encode the visible patches alone (section 3.1).

Shapes: B images, S side in pixels, T tokens, N patches, P visible patches, M tokens that are picked, D width.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.transformer import PreNormLayer, initialise
from mamo.specs.model import ModelSpec


class VisionEncoder(nn.Module):
    """ViT with a class token and learned positions."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        self.patch_size = spec.patch_size
        self.grid = spec.image_size // spec.patch_size
        self.stem = _stem(spec.stem, spec.patch_size) if spec.stem is not None else None
        # A convolution, as timm's weights have it; forward() computes it as a matrix product.
        channels, side = (3, spec.patch_size) if self.stem is None else (self.stem.channels, 1)
        self.patch_embedding = nn.Conv2d(channels, spec.width, side, side)
        self.class_token = nn.Parameter(torch.zeros(1, 1, spec.width))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.grid**2, spec.width))
        self.layers = nn.ModuleList(
            PreNormLayer(spec.width, spec.heads, spec.mlp_ratio) for _ in range(spec.vision_layers)
        )
        self.norm = nn.LayerNorm(spec.width, eps=1e-6)
        initialise(self, spec.width)
        nn.init.trunc_normal_(self.positions, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, image_B3SS: Tensor, keep_BP: Tensor | None = None) -> Tensor:
        """Encode images, or only their visible patches.

        Args:
            image_B3SS: normalised pixels; at another size than the encoder's own, positions are interpolated for this call.
            keep_BP: indices of the visible patches; None: all.

        Returns:
            (B, 1 + P, D) post-norm features, the class token first.
        """
        if self.stem is not None:
            x = self.stem(image_B3SS, keep_BP)
        else:
            x = patch_pixels(image_B3SS, self.patch_size)
            x = x if keep_BP is None else gather_tokens(x, keep_BP)
        positions = interpolate_positions(self.positions, image_B3SS.shape[-1] // self.patch_size)
        places = positions[:, 1:]
        if keep_BP is not None:
            # A look-up and not a gather: its gradient adds up over the batch without a copy of the positions for each image.
            places = F.embedding(keep_BP, places[0])
        # The convolution as a product: its windows do not overlap, and hidden patches need none.
        x = F.linear(x, self.patch_embedding.weight.flatten(1), self.patch_embedding.bias) + places
        class_token = (self.class_token + positions[:, :1]).expand(len(x), -1, -1)
        x = torch.cat([class_token.to(x.dtype), x], 1)
        for layer in self.layers:
            x = layer(x)
        # Post-norm features: what fusion reads and what MIM predicts (section 3.2.1).
        return self.norm(x)

    def remember(self, images_repeat: bool) -> None:
        """Let a stem keep what it sees in images, where the same pixels come again."""
        if self.stem is not None:
            self.stem.remember(images_repeat)

    def resize(self, image_size: int) -> None:
        """Take images of another size from now on; positions are interpolated (section 4.2)."""
        grid = image_size // self.patch_size
        self.positions = nn.Parameter(interpolate_positions(self.positions.data, grid).clone())
        self.grid = grid


def _stem(architecture: str, patch_size: int) -> Any:
    # By its name: a model without a stem, also an exported one, needs neither that module nor timm (slow to load).
    return importlib.import_module("mamo.model.stem").PatchStem(architecture, patch_size)


def gather_tokens(x_BTD: Tensor, indices_BM: Tensor) -> Tensor:
    """Pick tokens by their indices: (B, T, D), (B, M) -> (B, M, D)."""
    return x_BTD.gather(1, indices_BM[..., None].expand(-1, -1, x_BTD.shape[-1]))


def patch_pixels(image_B3SS: Tensor, patch_size: int) -> Tensor:
    """Cut images into patches: (B, 3, S, S) -> (B, N, 3 * patch_size ** 2)."""
    grid = image_B3SS.shape[-1] // patch_size
    # Channel first within a patch, as the convolution's weights have it.
    cut = image_B3SS.unflatten(-1, (grid, patch_size)).unflatten(-3, (grid, patch_size))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2).flatten(2)


def interpolate_positions(positions_1TD: Tensor, grid: int) -> Tensor:
    """Resample learned positions bicubically and keep the class token's: (1, 1 + n*n, D) -> (1, 1 + grid*grid, D)."""
    old = round((positions_1TD.shape[1] - 1) ** 0.5)
    if old == grid:  # the common case, without a copy
        return positions_1TD
    first, rest = positions_1TD[:, :1], positions_1TD[:, 1:]
    rest = rest.reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
    rest = F.interpolate(rest, size=(grid, grid), mode="bicubic", align_corners=False)
    return torch.cat([first, rest.permute(0, 2, 3, 1).flatten(1, 2).to(first.dtype)], 1)
