"""A small discrete VAE trained on the pre-training images: the stand-in for DALL-E's published encoder.

Shapes: B images, S side of an image in pixels.
"""

from __future__ import annotations

from torch import Tensor

from mamo.data.batches.collate import Batch
from mamo.objectives.visual_tokens import DiscreteVae
from mamo.tasks.task import Task

FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 1 / 16  # the Gumbel-softmax schedule of DALL-E's dVAE


class VisualCodesTask(Task):
    """Reconstruction through the discrete bottleneck, its temperature falling over the run."""

    def __init__(self, codes: int, total: int) -> None:
        super().__init__()
        self.vae = DiscreteVae(codes)
        self.total = total

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the reconstruction loss of a batch of pixels in [0, 1], (B, 3, S, S), and its parts."""
        # Codes are soft at first, so that gradients reach all of them, and hard at the end, as they are used.
        share = batch["step"] / max(1, self.total - 1)
        return self.vae(batch["pixels"], FIRST_TEMPERATURE * (LAST_TEMPERATURE / FIRST_TEMPERATURE) ** share)
