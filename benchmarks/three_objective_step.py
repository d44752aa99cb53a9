"""A pre-training step with three objectives and cross-attention fusion in the manner of ALBEF (Li et al., 2021), for scale.

ITC with a queue and soft targets of a momentum model, ITM with hard negatives, MLM with soft labels of the momentum model. The
text encoder's upper layers read the image by cross-attention. Every loss makes its own pass, logits run over the vocabulary at
every position, query, key and value are three products, the moving average goes from parameter to
parameter. ITC's queue keeps ALBEF's proportion of 128 batches. Written from the paper's description; ``distils=False`` leaves
the momentum model and the queue out.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.data.tokenizer import Tokenizer
from mamo.method import attend, encode_image, encode_text, follow, unit
from mamo.model.mamo import Mamo
from mamo.model.step_random import uniform
from mamo.model.transformer import PostNormLayer
from mamo.objectives.itm import hard_negatives
from mamo.objectives.masking import TextMasker
from mamo.specs.masking import MaskingSpec
from mamo.specs.model import ModelSpec

QUEUE_BATCHES = 128
SOFT = 0.4  # share of the momentum model's targets
MOMENTUM = 0.995


class Network(nn.Module):
    """Image encoder, text encoder, fusion layers with cross-attention, ITC's projections, the heads of ITM and MLM."""

    def __init__(self, spec: ModelSpec, vocab_size: int) -> None:
        super().__init__()
        base = Mamo(spec.model_copy(update={"fusion_layers": 1}), vocab_size)
        self.vision, self.text = base.vision, base.text
        self.vision_projection, self.text_projection = base.vision_projection, base.text_projection
        self.itm_head = base.itm_head
        self.fusion = nn.ModuleList(
            PostNormLayer(spec.width, spec.heads, spec.mlp_ratio, spec.dropout, cross=True)
            for _ in range(spec.fusion_layers)
        )
        self.transform = nn.Sequential(
            nn.Linear(spec.width, spec.width), nn.GELU(), nn.LayerNorm(spec.width, eps=1e-12)
        )
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def fuse(self, visual: Tensor, text: Tensor, mask: Tensor) -> Tensor:
        """The fused text tokens, (B, L, D)."""
        for layer in self.fusion:
            text = layer.norm_attention(text + attend(layer.attention, text, text, mask == 1))
            text = layer.norm_cross(text + attend(layer.cross_attention, text, visual, None))
            text = layer.norm_mlp(text + layer.mlp(text))
        return text

    def words(self, fused: Tensor) -> Tensor:
        """Logits over the vocabulary at every position."""
        return F.linear(self.transform(fused), self.text.embedding.words.weight, self.bias).float()


class ThreeObjectives(nn.Module):
    """ITC + ITM + MLM.

    Args:
        distils: whether a momentum model and queues are part of it.
    """

    def __init__(self, spec: ModelSpec, tokenizer: Tokenizer, batch: int, distils: bool = True) -> None:
        super().__init__()
        self.online = Network(spec, tokenizer.vocab_size)
        self.temperature = nn.Parameter(torch.tensor(0.07))
        self.masker = TextMasker(MaskingSpec(text_ratio=0.15), tokenizer, spec.max_words)
        self.following = copy.deepcopy(self.online).requires_grad_(False) if distils else None
        size, width = QUEUE_BATCHES * batch if distils else 0, spec.projection_width
        self.register_buffer("images", F.normalize(torch.randn(size, width), dim=-1))
        self.register_buffer("texts", F.normalize(torch.randn(size, width), dim=-1))
        self.images: Tensor
        self.texts: Tensor
        self.place = 0

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """``loss`` and its three parts."""
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        online, following = self.online, self.following
        visual, text = encode_image(online, image), encode_text(online, ids, mask)
        image_BE, text_BE = unit(online, visual, text)
        all_images, all_texts, soft = image_BE, text_BE, (None, None)
        if following is not None:
            with torch.no_grad():
                followed = encode_image(following, image)
                image_m, text_m = unit(following, followed, encode_text(following, ids, mask))
                all_images = torch.cat([image_m, self.images])
                all_texts = torch.cat([text_m, self.texts])
                soft = (image_m @ all_texts.T, text_m @ all_images.T)
                self._enqueue(image_m, text_m)
        itc = 0.5 * (
            self._contrast(image_BE @ all_texts.T, soft[0]) + self._contrast(text_BE @ all_images.T, soft[1])
        )

        draws = uniform(batch["seed"], batch["step"], "itm", len(ids), 2).T
        wrong = hard_negatives(image_BE, text_BE, self.temperature, batch["image_id"], draws, len(ids))
        positive = online.fuse(visual, text, mask)
        negative = online.fuse(
            torch.cat([visual, visual[wrong.image]]),
            torch.cat([text[wrong.text], text]),
            torch.cat([mask[wrong.text], mask]),
        )
        logits = online.itm_head(torch.cat([positive, negative])[:, 0]).float()
        labels = torch.cat([torch.ones(len(ids)), torch.zeros(2 * len(ids))]).long()
        itm = F.cross_entropy(logits, labels)

        words = self.masker(ids, mask, batch["seed"], batch["step"])
        word_logits = online.words(online.fuse(visual, encode_text(online, words.ids, mask), mask))
        mlm = F.cross_entropy(word_logits.flatten(0, 1), ids.masked_fill(~words.chosen, -100).flatten())
        if following is not None:
            with torch.no_grad():
                said = following.words(
                    following.fuse(followed, encode_text(following, words.ids, mask), mask)
                ).softmax(-1)
            apart = -(word_logits.log_softmax(-1) * said).sum(-1)
            mlm = (1 - SOFT) * mlm + SOFT * apart[words.chosen].mean()
        return {"loss": itc + itm + mlm, "itc": itc, "itm": itm, "mlm": mlm}

    def _contrast(self, similarity: Tensor, soft: Tensor | None) -> Tensor:
        scores = similarity / self.temperature
        own = torch.arange(len(scores))
        hard = F.cross_entropy(scores, own)
        if soft is None:
            return hard
        soft_targets = (soft / self.temperature.detach()).softmax(1)
        return (1 - SOFT) * hard - SOFT * (scores.log_softmax(1) * soft_targets).sum(1).mean()

    def _enqueue(self, image_BE: Tensor, text_BE: Tensor) -> None:
        place = slice(self.place, self.place + len(image_BE))
        self.images, self.texts = self.images.clone(), self.texts.clone()
        self.images[place], self.texts[place] = image_BE, text_BE
        self.place = place.stop % len(self.images)

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp the temperature; the momentum model follows, one parameter after another."""
        self.temperature.clamp_(0.001, 0.5)
        if self.following is not None:
            follow(self.following, self.online, MOMENTUM)
