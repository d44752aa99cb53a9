"""The online network with its projector, and what is asked of its moving average, the target network (section 3.2.1).

Shapes: B pairs, N patches, M masked patches, L sub-words, K chosen sub-words of all texts, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mamo.model.fusion import Fused
from mamo.model.mamo import Mamo
from mamo.objectives.distillation import Pair
from mamo.objectives.masking import PatchMask, TextPlaces, at


class AtMasked(NamedTuple):
    """Fused representations at the masked positions alone."""

    image: Tensor
    """(B, M, D), of the masked patches."""
    text: Tensor
    """(K, D), of the chosen sub-words."""


class Distilled(nn.Module):
    """What online and target network have in common: f and the projector g.

    Its methods are asked of the target network: they give targets, so that no gradient goes through them (sg of Eq. 1).
    """

    def __init__(self, network: Mamo, projector: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.projector = projector

    @torch.no_grad()
    def vision(self, image_B3SS: Tensor) -> Tensor:
        """(B, 1 + N, D) visual features of the unmasked image."""
        return self.network.encode_image(image_B3SS)

    @torch.no_grad()
    def fused(self, vision_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Fused:
        """The pair's fused representations, from its visual features."""
        return self.network.fuse(vision_BVD, self.network.encode_text(ids_BL, mask_BL), mask_BL)

    @torch.no_grad()
    def at_masked(
        self, vision_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor, patches: PatchMask, words: TextPlaces
    ) -> AtMasked:
        """What :meth:`fused` says of the masked positions, without the last layer's work for all others."""
        fusion, tokens = self.network.fusion, vision_BVD.shape[1]
        x, bias = fusion.before_last(vision_BVD, self.network.encode_text(ids_BL, mask_BL), mask_BL)
        wanted = torch.cat([at(x[:, 1:tokens], patches.masked), at(x[:, tokens:], words.places)], 1)
        fused, masked = fusion.last(wanted, x, bias), patches.masked.shape[1]
        return AtMasked(fused[:, :masked], fused[:, masked:][words.real])

    @torch.no_grad()
    def projections(self, image_B3SS: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Pair:
        """ITC's projections of image and text."""
        text = self.network.encode_text(ids_BL, mask_BL)
        return Pair(self.network.project_image(self.vision(image_B3SS)), self.network.project_text(text))
