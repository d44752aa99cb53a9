"""Grad-CAM heat maps for figures, through pytorch-grad-cam, for any fusion layer and any score.

Shapes: B pairs, V visual tokens, L sub-words, T = V + L tokens, D width.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from mamo.explain.scores import ScoreFunction
from mamo.model.mamo import Mamo
from mamo.tasks.relevance import Relevance, fusion_attention, split_relevance


class AttentionGradCam:
    """Heat maps of one fusion layer.

    Args:
        network: any network f, frozen or not. A call clears its parameters' gradients.
        layer: fusion layer, counted from 1 (the paper shows the 4th of 6, and for VQA the last).

    Raises:
        ValueError: there is no such layer.
    """

    def __init__(self, network: Mamo, layer: int) -> None:
        self.network = network
        self.attention = fusion_attention(network, layer)

    def __call__(
        self, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor, score: ScoreFunction
    ) -> Relevance:
        """Heat maps in both directions.

        Args:
            visual_BVD: full set of visual features, of a masked image too (``network.encode_image``).
            text_BLD: text features, of a masked text too.
            mask_BL: 1 at tokens, 0 at padding.
            score: fused representations -> (B,) values to explain: ITM's logit, an answer's log-probability, or the negative
                of a loss ("minimising the MRM loss", section 4.6).
        """
        model = _Scored(self.network, text_BLD.detach(), mask_BL, score)
        modes = {module: module.training for module in model.modules()}
        cam = _attention_cam()(model, [self.attention.probabilities])
        try:
            # A leaf that requires a gradient keeps the graph alive even if every parameter is frozen.
            with torch.enable_grad():
                cam(visual_BVD.detach().clone().requires_grad_(), [_itself] * len(visual_BVD))
        finally:
            # No context manager: the library's own swallows IndexError.
            cam.activations_and_grads.release()
            for module, training in modes.items():
                module.training = training
            self.network.zero_grad(set_to_none=True)
        raw = torch.from_numpy(cam.raw).to(visual_BVD.device)
        return split_relevance(raw, self.network.vision.grid)


class _Scored(nn.Module):
    """The fusion encoder and a score as a function of one tensor, which is what the library calls."""

    def __init__(self, network: Mamo, text_BLD: Tensor, mask_BL: Tensor, score: ScoreFunction) -> None:
        super().__init__()
        self.network = network
        self.text, self.mask, self.score = text_BLD, mask_BL, score

    def forward(self, visual_BVD: Tensor) -> Tensor:
        return self.score(self.network.fuse(visual_BVD, self.text, self.mask))


def _itself(value: Tensor) -> Tensor:
    return value


@cache
def _attention_cam() -> type[Any]:
    """Build the library's class for attention maps at first use, since importing the library takes seconds."""
    import numpy as np
    from pytorch_grad_cam.base_cam import BaseCAM

    class AttentionCam(BaseCAM):
        """Activations are the probabilities (B, H, T, T); ``raw`` keeps the map before the library normalises it."""

        raw: np.ndarray

        def get_cam_image(
            self,
            input_tensor: Tensor,
            target_layer: nn.Module,
            targets: list[Any],
            activations: np.ndarray,
            grads: np.ndarray,
            eigen_smooth: bool = False,
        ) -> np.ndarray:
            self.raw = (activations * np.maximum(grads, 0)).mean(1)
            return self.raw

        def get_target_width_height(self, input_tensor: Tensor) -> Any:
            return None  # tokens, not pixels: nothing to resize

    return AttentionCam
