"""The pre-training step as one would write it down at first: the measure of what the product's arrangement is worth.

It computes the same losses and gradients (a test holds them equal), the plain way:

- every loss makes its own pass through the fusion encoder, through all of its layers and tokens: matched pair, two wrong pairs,
  masked text, masked image, and MRM encodes and fuses both masked views once more for itself;
- the masked image goes through the ViT at full length, with mask tokens in the hidden places. The paper's image encoder sees
  the visible patches alone, so a full-length pass is another function unless visible tokens are kept from reading the hidden
  ones: here attention hides these as keys, and behind the ViT the mask token takes their places again. What is computed at
  hidden places is thrown away, which is what encoding the full image costs;
- query, key and value are three products; logits run over the vocabulary at every position; MIM predicts every patch;
- the moving average goes from parameter to parameter; gradients are clipped and AdamW runs as PyTorch does by default.

It shares with the product what is no work in question: weights, masks, the draw of negatives, a single pass of the target
network, and the unmasked image and text encoded once for all losses.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.draws import uniform
from mamo.model.mamo import Mamo
from mamo.model.transformer import Attention, PostNormLayer, PreNormLayer
from mamo.objectives.itm import hard_negatives
from mamo.tasks.distilled import Distilled
from mamo.tasks.pretrain import PretrainTask


def attend(attention: Attention, x: Tensor, seen: Tensor | None, context: Tensor | None = None) -> Tensor:
    """Self-attention, or attention to a ``context``; ``seen`` is False where a token is hidden from all others."""
    batch, length, width = x.shape
    size = width // attention.heads
    source = x if context is None else context

    def split(y: Tensor) -> Tensor:
        return y.view(batch, -1, attention.heads, size).permute(0, 2, 1, 3)

    query, key, value = (
        split(attention.query(x)),
        split(attention.key(source)),
        split(attention.value(source)),
    )
    scores = torch.matmul(query, key.transpose(-1, -2)) / size**0.5
    if seen is not None:
        scores = scores.masked_fill(~seen[:, None, None, :], -1e4)
    mixed = torch.matmul(torch.softmax(scores, dim=-1), value)
    return attention.out(mixed.permute(0, 2, 1, 3).reshape(batch, length, width))


def pre_norm(layer: PreNormLayer, x: Tensor, seen: Tensor | None) -> Tensor:
    """ViT's layer."""
    x = x + attend(layer.attention, layer.norm_attention(x), seen)
    return x + layer.mlp(layer.norm_mlp(x))


def post_norm(layer: PostNormLayer, x: Tensor, seen: Tensor | None) -> Tensor:
    """BERT's layer."""
    x = layer.norm_attention(x + attend(layer.attention, x, seen))
    return layer.norm_mlp(x + layer.mlp(x))


def encode_image(network: Mamo, image: Tensor, visible: Tensor | None = None) -> Tensor:
    """All 1 + N tokens of an image; ``visible`` (B, N) is False at the patches that the mask token stands for."""
    vision, fusion = network.vision, network.fusion
    x = vision.patch_embedding(image).flatten(2).transpose(1, 2)
    seen = None
    if visible is not None:
        x = torch.where(visible[..., None], x, fusion.mask_token.to(x.dtype))
        seen = torch.cat([visible.new_ones(len(image), 1), visible], 1)
    x = torch.cat([vision.class_token.expand(len(image), -1, -1).to(x.dtype), x], 1) + vision.positions
    for layer in vision.layers:
        x = pre_norm(layer, x, seen)
    x = vision.norm(x)
    return x if seen is None else torch.where(seen[..., None], x, fusion.mask_token.to(x.dtype))


def encode_text(network: Any, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, L) -> (B, L, D)."""
    x = network.text.embedding(ids)
    for layer in network.text.layers:
        x = post_norm(layer, x, mask == 1)
    return x


def fuse(network: Mamo, visual: Tensor, text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """All fused image tokens and all fused text tokens."""
    count = visual.shape[1]
    x = torch.cat([visual + network.fusion.positions, text], 1)
    seen = torch.cat([mask.new_ones(len(mask), count), mask], 1) == 1
    for layer in network.fusion.layers:
        x = post_norm(layer, x, seen)
    return x[:, :count], x[:, count:]


class PlainStep:
    """The five losses of a batch, and the update of the target network.

    Args:
        task: gives weights, spec and masks. MIM predicts momentum features without a decoder, and dropout is off.
    """

    def __init__(self, task: PretrainTask) -> None:
        wanted = task.spec.objectives
        if wanted.mim is None or wanted.mim.target != "momentum_features" or wanted.mim.decoder_depth:
            raise ValueError("the plain step predicts momentum features without a decoder")
        if wanted.mrm is None or not (wanted.mrm.image and wanted.mrm.text and wanted.mlm and wanted.itm):
            raise ValueError("the plain step has all five losses")
        self.task = task

    def __call__(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """``loss`` and its five parts."""
        task, network = self.task, self.task.network
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        patches, words = task.masks(ids, mask, batch["seed"], batch["step"])
        visible = torch.zeros(len(ids), network.vision.grid**2, dtype=torch.bool).scatter(
            1, patches.keep, True
        )
        target = self._target(image, ids, mask)
        visual, text = encode_image(network, image), encode_text(network, ids, mask)
        parts = {
            "itc": self._itc(visual, text),
            "itm": self._itm(batch, visual, text),
            "mlm": self._mlm(visual, ids, mask, words.ids, words.chosen),
            "mim": self._mim(image, text, mask, visible, target[0]),
            "mrm": self._mrm_text(visual, mask, words.ids, words.chosen, target[2])
            + self._mrm_image(image, text, mask, visible, target[1]),
        }
        return {"loss": sum(parts.values()), **parts}  # type: ignore[dict-item]

    @torch.no_grad()
    def _target(self, image: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        network = self._following.network
        visual = encode_image(network, image)
        return (visual, *fuse(network, visual, encode_text(network, ids, mask), mask))

    @property
    def _following(self) -> Distilled:
        assert self.task.target is not None
        return self.task.target

    def _unit(self, visual: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        network = self.task.network
        image_BE = F.normalize(network.vision_projection(visual[:, 0]).float(), dim=-1)
        return image_BE, F.normalize(network.text_projection(text[:, 0]).float(), dim=-1)

    def _itc(self, visual: Tensor, text: Tensor) -> Tensor:
        image_BE, text_BE = self._unit(visual, text)
        with torch.autocast(image_BE.device.type, enabled=False):
            scores = image_BE @ text_BE.T / self.task.network.temperature
        own = torch.arange(len(scores))
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    def _itm(self, batch: dict[str, Any], visual: Tensor, text: Tensor) -> Tensor:
        network, wanted, mask = self.task.network, self.task.spec.objectives, batch["mask"]
        draws = uniform(batch["seed"], batch["step"], "itm", len(mask), 2).T
        with torch.no_grad():
            units = self._unit(visual, text)
        wrong = hard_negatives(
            *units, network.temperature, batch["image_id"], draws, wanted.itm_group, wanted.itm_random
        )
        matched = fuse(network, visual, text, mask)[1]
        negative = fuse(
            network,
            torch.cat([visual, visual[wrong.image]]),
            torch.cat([text[wrong.text], text]),
            torch.cat([mask[wrong.text], mask]),
        )[1]
        logits = network.itm_head(torch.cat([matched, negative])[:, 0]).float()
        labels = torch.cat([torch.ones(len(mask)), torch.zeros(2 * len(mask))]).long()
        return F.cross_entropy(logits, labels)

    def _mlm(self, visual: Tensor, ids: Tensor, mask: Tensor, masked: Tensor, chosen: Tensor) -> Tensor:
        network, head = self.task.network, self.task.mlm_head
        fused = fuse(network, visual, encode_text(network, masked, mask), mask)[1]
        logits = F.linear(fused, network.text.embedding.words.weight, head.bias).float()  # type: ignore[union-attr]
        return F.cross_entropy(logits.flatten(0, 1), ids.masked_fill(~chosen, -100).flatten())

    def _mim(self, image: Tensor, text: Tensor, mask: Tensor, visible: Tensor, wanted: Tensor) -> Tensor:
        network = self.task.network
        fused = fuse(network, encode_image(network, image, visible), text, mask)[0]
        predicted = self.task.mim_head.mlp(fused[:, 1:])  # type: ignore[union-attr]
        errors = (predicted.float() - wanted[:, 1:].float()).abs().mean(-1)
        return (errors * ~visible).sum() / (~visible).sum()

    def _mrm_text(
        self, visual: Tensor, mask: Tensor, masked: Tensor, chosen: Tensor, target: Tensor
    ) -> Tensor:
        network = self.task.network
        fused = fuse(network, visual, encode_text(network, masked, mask), mask)[1]
        return self._mrm(fused[chosen], target[chosen])

    def _mrm_image(
        self, image: Tensor, text: Tensor, mask: Tensor, visible: Tensor, target: Tensor
    ) -> Tensor:
        network = self.task.network
        fused = fuse(network, encode_image(network, image, visible), text, mask)[0]
        return self._mrm(fused[:, 1:][~visible], target[:, 1:][~visible])

    def _mrm(self, online: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self._following.projector(target)  # type: ignore[misc]
        predicted = self.task.predictor(self.task.online.projector(online))  # type: ignore[misc]
        return F.mse_loss(predicted.float(), wanted.float())

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp the temperature; the target follows, one parameter after another."""
        self.task.network.clamp_temperature()
        follow(self._following, self.task.online, self.task.spec.target.momentum)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """target <- momentum * target + (1 - momentum) * online, one parameter after another."""
    for average, parameter in zip(target.parameters(), online.parameters(), strict=True):
        average.data = average.data * momentum + parameter.data * (1.0 - momentum)
