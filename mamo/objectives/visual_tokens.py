"""Visual tokens: the discrete codes of image patches that Table 8 takes as one of MIM's targets.

At the paper's scale they come from DALL-E's published encoder; in the embedded world from a small discrete VAE that the
workbench trains. Both see an image at 8 pixels per patch, so that one code falls on each patch.

Shapes: B images, S side in pixels, (h, w) codes along the sides.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CODE_STRIDE = 8
DALLE_EPSILON = 0.1  # DALL-E's map_pixels: (1 - 2 eps) x + eps keeps pixels off the ends of the logit-Laplace


class DiscreteVae(nn.Module):
    """A convolutional encoder to code logits, a Gumbel-softmax bottleneck, and a decoder back to pixels."""

    def __init__(self, codes: int, width: int = 64) -> None:
        super().__init__()
        self.codes = codes
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(width, width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(width, width, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(width, codes, 1),
        )  # fmt: skip
        self.embedding = nn.Embedding(codes, width)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(width, width, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(width, width, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(width, 3, 4, 2, 1),
        )  # fmt: skip

    def forward(self, pixels_B3SS: Tensor, temperature: float) -> dict[str, Tensor]:
        """Reconstruct pixels in [0, 1]: ``loss`` is the mean squared error plus a pull towards even use of the codes."""
        logits = self.encoder(pixels_B3SS)
        shares = F.gumbel_softmax(logits, temperature, dim=1)
        decoded = self.decoder(torch.einsum("bkhw,kd->bdhw", shares, self.embedding.weight))
        reconstruction = F.mse_loss(decoded, pixels_B3SS)
        # Without a pull towards even use, the encoder soon uses a few codes only.
        usage = logits.softmax(1).mean((0, 2, 3))
        evenness = (usage * (usage * self.codes).clamp(min=1e-9).log()).sum()
        return {
            "loss": reconstruction + 1e-3 * evenness,
            "reconstruction": reconstruction,
            "evenness": evenness,
        }

    @torch.no_grad()
    def tokens(self, pixels_B3SS: Tensor) -> Tensor:
        """Name the code of every patch: (B, 3, S, S) pixels in [0, 1] -> (B, S / 8, S / 8)."""
        return self.encoder(pixels_B3SS).argmax(1)


class VisualTokenizer(nn.Module):
    """Codes of each patch of a normalised image; nothing in it is ever trained further.

    Args:
        encoder: anything with ``tokens(pixels) -> (B, h, w)``.
        codes: size of the codebook.
        mean, std: the normalisation to undo, per channel.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, encoder: nn.Module, codes: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        super().__init__()
        # Frozen: its codes are targets, and must mean the same throughout a run.
        self.encoder = encoder.eval().requires_grad_(False)
        self.codes = codes
        self.register_buffer("mean", torch.tensor(mean)[None, :, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(std)[None, :, None, None], persistent=False)

    @torch.no_grad()
    def forward(self, image_B3SS: Tensor, grid: int) -> Tensor:
        """Name the code of every patch of normalised images: (B, grid * grid)."""
        # The tokenisers take pixels in [0, 1], so the model's own normalisation is undone first.
        pixels = (image_B3SS.float() * self.std + self.mean).clamp(0, 1)
        # Resized so that one code falls on each patch, whatever the patch's own size.
        side = grid * CODE_STRIDE
        pixels = F.interpolate(
            pixels, size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
        return self.encoder.tokens(pixels).flatten(1)  # type: ignore[operator]


class DallEncoder(nn.Module):
    """DALL-E's encoder as published in transformers (``FlavaImageCodebook``), 8,192 codes."""

    def __init__(self, codebook: Any) -> None:
        super().__init__()
        self.codebook = codebook

    @classmethod
    def load(cls, name: str) -> DallEncoder:
        """Load a published encoder by its name or from a local directory."""
        from transformers import FlavaImageCodebook

        return cls(FlavaImageCodebook.from_pretrained(name))

    @torch.no_grad()
    def tokens(self, pixels_B3SS: Tensor) -> Tensor:
        """Name the code of every patch: (B, 3, S, S) pixels in [0, 1] -> (B, S / 8, S / 8)."""
        mapped = (1 - 2 * DALLE_EPSILON) * pixels_B3SS + DALLE_EPSILON
        return self.codebook.get_codebook_indices(mapped)


def load_visual_tokenizer(
    directory: Path, mean: tuple[float, ...], std: tuple[float, ...]
) -> VisualTokenizer:
    """Load the tokeniser that a weights run left in ``directory``.

    Raises:
        StoredError: its configuration is incomplete, or its weights do not fit.
    """
    from mamo.files.stored import StoredError, read_object
    from mamo.model.pretrained import load_exactly, read_state

    config = read_object(directory / "config.json")
    if not {"source", "codes"} <= set(config) or not isinstance(config["codes"], int):
        raise StoredError(
            f"{directory / 'config.json'}: lacks 'source' or a number of 'codes'; make the run again"
        )
    if config["source"] == "transformers":
        dalle = DallEncoder.load(str(directory / "codebook"))
        return VisualTokenizer(dalle, config["codes"], mean, std)
    vae = DiscreteVae(config["codes"])
    path = directory / "model.safetensors"
    load_exactly(vae, read_state(path), path)
    return VisualTokenizer(vae, config["codes"], mean, std)
