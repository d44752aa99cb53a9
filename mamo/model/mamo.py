"""The network f: what pre-training trains, and what every downstream task starts from (section 3.1).

Shapes: B pairs, S side of an image in pixels, N patches, P visible patches, V = 1 + N visual tokens, L sub-words, T = V + L
tokens, D width, E width of ITC's projections.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.fusion import Fused, FusionEncoder
from mamo.model.text import TextEncoder
from mamo.model.transformer import initialise
from mamo.model.vision import VisionEncoder
from mamo.specs.model import ModelSpec


class Mamo(nn.Module):
    """Image encoder, text encoder, fusion encoder, and the heads of the two alignment tasks (section 3.2.2)."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        self.spec = spec
        self.vocab_size = vocab_size
        self.vision = VisionEncoder(spec)
        self.text = TextEncoder(spec, vocab_size)
        self.fusion = FusionEncoder(spec)
        self.vision_projection = nn.Linear(spec.width, spec.projection_width)
        self.text_projection = nn.Linear(spec.width, spec.projection_width)
        # Stored as it is, not as a logarithm: it is clamped after each step (ALBEF).
        self.temperature = nn.Parameter(torch.tensor(spec.temperature))
        self.itm_head = nn.Linear(spec.width, 2)
        # Encoders have initialised themselves; these are new in every run.
        for head in (self.vision_projection, self.text_projection, self.itm_head):
            initialise(head, spec.width)

    def encode_image(self, image_B3SS: Tensor, keep_BP: Tensor | None = None) -> Tensor:
        """Encode images: (B, V, D); with the indices of visible patches, only these are encoded (section 3.2.1)."""
        # The mask token stands for what was not encoded, so that the fusion encoder has a token for every patch.
        features = self.vision(image_B3SS, keep_BP)
        return features if keep_BP is None else self.fusion.full_set(features, keep_BP)

    def encode_text(self, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
        """Encode token ids with their mask: (B, L, D)."""
        return self.text(ids_BL, mask_BL)

    def fuse(self, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> Fused:
        """Fuse visual and textual features."""
        return self.fusion(visual_BVD, text_BLD, mask_BL)

    def project_image(self, visual_BVD: Tensor) -> Tensor:
        """Compute g^v(v_cls) of Eq. 4: (B, V, D) -> (B, E), of unit length."""
        return F.normalize(self.vision_projection(visual_BVD[:, 0]).float(), dim=-1)

    def project_text(self, text_BLD: Tensor) -> Tensor:
        """Compute g^t(w_cls) of Eq. 4: (B, L, D) -> (B, E), of unit length."""
        return F.normalize(self.text_projection(text_BLD[:, 0]).float(), dim=-1)

    def itm_logits(self, fused: Fused) -> Tensor:
        """Score "not matched" and "matched" by the fused [CLS]: (B, 2)."""
        return self.itm_head(fused.cls)

    def matching_logits(self, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> Tensor:
        """Fuse pairs of features, and score "not matched" and "matched" in full precision: (B, 2)."""
        x_BTD, bias = self.fusion.before_last(visual_BVD, text_BLD, mask_BL)
        tokens = visual_BVD.shape[1]
        # [CLS] stands behind the visual tokens, and is all that ITM reads of the last layer.
        cls = self.fusion.last(x_BTD[:, tokens : tokens + 1], x_BTD, bias)[:, 0]
        # Outside autocast: in bf16, many of a gallery's pairs would score exactly the same.
        with torch.autocast(cls.device.type, enabled=False):
            return self.itm_head(cls.float())

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        """Keep the learned temperature in its range; call after each optimiser step."""
        self.temperature.clamp_(*self.spec.temperature_range)

    def resize(self, image_size: int) -> None:
        """Take images of another size from now on; all learned image positions are interpolated (section 4.2)."""
        self.vision.resize(image_size)
        self.fusion.resize(self.vision.grid)
        self.spec = self.spec.model_copy(update={"image_size": image_size})
