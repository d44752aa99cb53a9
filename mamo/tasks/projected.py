"""The network f with its projector g, and what the target's copy of both is asked for (section 3.2.1).

Shapes: B pairs, N patches, V = 1 + N visual tokens, M masked patches of an image, L sub-words of a text, K masked sub-words of
all texts, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mamo.model.fusion import Fused
from mamo.model.mamo import Mamo
from mamo.model.vision import gather_tokens
from mamo.objectives.distillation import Pair
from mamo.objectives.masking import PatchMask, TextPlaces


class AtMasked(NamedTuple):
    """Fused representations at the masked positions alone."""

    image: Tensor
    """(B, M, D), of the masked patches."""
    text: Tensor
    """(K, D), of the masked sub-words."""


class ProjectedNetwork(nn.Module):
    """The network f with its projector g; there is one online and one target copy.

    Call the methods on the target: they compute training targets under no_grad (sg in Eq. 1).
    """

    def __init__(self, network: Mamo, projector: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.projector = projector

    @torch.no_grad()
    def vision(self, image_B3SS: Tensor) -> Tensor:
        """Encode the unmasked images: (B, V, D)."""
        return self.network.encode_image(image_B3SS)

    @torch.no_grad()
    def fused(self, vision_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Fused:
        """Fuse the pairs from their visual features."""
        return self.network.fuse(vision_BVD, self.network.encode_text(ids_BL, mask_BL), mask_BL)

    @torch.no_grad()
    def at_masked(
        self, vision_BVD: Tensor, ids_BL: Tensor, mask_BL: Tensor, patches: PatchMask, words: TextPlaces
    ) -> AtMasked:
        """Return what :meth:`fused` says of the masked positions."""
        fusion, tokens = self.network.fusion, vision_BVD.shape[1]
        x, bias = fusion.before_last(vision_BVD, self.network.encode_text(ids_BL, mask_BL), mask_BL)
        # Places in the sequence [class token ; patches ; sub-words]; the last layer's work for all others is spared.
        places = torch.cat([1 + patches.masked, tokens + words.places], 1)
        fused, masked = fusion.last(gather_tokens(x, places), x, bias), patches.masked.shape[1]
        return AtMasked(fused[:, :masked], fused[:, masked:][words.real])

    @torch.no_grad()
    def projections(self, image_B3SS: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> Pair:
        """Return ITC's projections of images and texts."""
        # Unmasked, as the online side of ITC is.
        text = self.network.encode_text(ids_BL, mask_BL)
        return Pair(self.network.project_image(self.vision(image_B3SS)), self.network.project_text(text))
