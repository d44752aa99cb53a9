"""MAMO's pre-training step in one file: the model (section 3.1), the five losses and their sum (section 3.2, Eqs. 1 to 6).

Read it from top to bottom, with the paper beside it. It computes what :mod:`mamo.tasks.pretrain` computes, with the same
weights, masks and negatives: a test holds losses and gradients of both equal for every setting that an ablation uses. Here each
loss makes its own passes through the fusion encoder, in the paper's words. There the same is arranged to cost a fraction of it,
on many GPUs or in micro-batches (docs/performance.md says what that is worth). ALBEF's extras are in :mod:`mamo.albef`.

Names are the paper's: f the network, g the projector of MRM, h the predictors, (I, T) an image-text pair.
Shapes: B pairs, S side of an image, N patches, P visible patches, L sub-words, T tokens, D width, E width of ITC's projections.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.mamo import Mamo
from mamo.model.step_random import uniform
from mamo.model.transformer import Attention, PostNormLayer, PreNormLayer
from mamo.objectives.itm import hard_negatives
from mamo.tasks.pretrain import PretrainTask

# Section 3.1: ViT encodes images, BERT's first layers encode texts, BERT's last layers fuse both.


def attend(attention: Attention, x_BTD: Tensor, read_BRD: Tensor, seen_BR: Tensor | None) -> Tensor:
    """Multi-head attention of tokens x to the tokens that they read; where ``seen`` is False a token is hidden from all."""

    def heads(y: Tensor) -> Tensor:
        return y.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

    query = heads(attention.query(x_BTD))
    key, value = heads(attention.key(read_BRD)), heads(attention.value(read_BRD))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if seen_BR is not None:
        scores = scores.masked_fill(~seen_BR[:, None, None, :], -1e4)
    return attention.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


def vit_layer(layer: PreNormLayer, x_BTD: Tensor) -> Tensor:
    """ViT's layer normalises what attention and MLP read."""
    normed = layer.norm_attention(x_BTD)
    x_BTD = x_BTD + attend(layer.attention, normed, normed, None)
    return x_BTD + layer.mlp(layer.norm_mlp(x_BTD))


def bert_layer(layer: PostNormLayer, x_BTD: Tensor, seen_BT: Tensor) -> Tensor:
    """BERT's layer normalises the sum of what attention and MLP read and say."""
    x_BTD = layer.norm_attention(x_BTD + attend(layer.attention, x_BTD, x_BTD, seen_BT))
    return layer.norm_mlp(x_BTD + layer.mlp(x_BTD))


def encode_image(f: Mamo, image_B3SS: Tensor, visible_BN: Tensor | None = None) -> Tensor:
    """f^v: the class token and all patches, (B, 1 + N, D); of a masked image, only visible patches are encoded."""
    vision = f.vision
    if vision.stem is not None:  # no part of the paper: what a frozen network sees in a patch, for its pixels
        image_B3SS = vision.stem(image_B3SS).mT.unflatten(2, (vision.grid, vision.grid))
    x = vision.patch_embedding(image_B3SS).flatten(2).transpose(1, 2) + vision.positions[:, 1:]
    if visible_BN is not None:
        x = x[visible_BN].unflatten(0, (len(x), -1))  # as many patches of every image
    class_token = (vision.class_token + vision.positions[:, :1]).expand(len(x), -1, -1)
    x = torch.cat([class_token.to(x.dtype), x], 1)
    for layer in vision.layers:
        x = vit_layer(layer, x)  # type: ignore[arg-type]
    x = vision.norm(x)
    if visible_BN is None:
        return x
    # A shared mask token stands for the others, so that the fusion encoder has a token for each patch to predict.
    every = f.fusion.mask_token.to(x.dtype).expand(*visible_BN.shape, -1)
    return torch.cat([x[:, :1], every.masked_scatter(visible_BN[..., None], x[:, 1:])], 1)


def encode_text(f: Any, ids_BL: Tensor, mask_BL: Tensor) -> Tensor:
    """f^w: all sub-words, [CLS] first: (B, L, D)."""
    x = f.text.embedding(ids_BL)
    for layer in f.text.layers:
        x = bert_layer(layer, x, mask_BL == 1)
    return x


def fuse(f: Mamo, visual: Tensor, text: Tensor, mask_BL: Tensor) -> tuple[Tensor, Tensor]:
    """Self-attention over the concatenation of both modalities; fused image tokens (B, 1 + N, D) and text tokens (B, L, D)."""
    tokens = visual.shape[1]
    x = torch.cat([visual + f.fusion.positions, text], 1)
    seen = torch.cat([mask_BL.new_ones(len(mask_BL), tokens), mask_BL], 1) == 1
    for layer in f.fusion.layers:
        x = bert_layer(layer, x, seen)  # type: ignore[arg-type]
    return x[:, :tokens], x[:, tokens:]


# Section 3.2: the objectives.


class Views(NamedTuple):
    """A batch of pairs (I, T), what is masked of them, and what both networks make of them unmasked."""

    image: Tensor
    ids: Tensor
    mask: Tensor
    """(B, L), 1 at sub-words, 0 at padding."""
    visible: Tensor
    """(B, N) False at the masked patches."""
    masked_ids: Tensor
    """(B, L) sub-words after replacement: the masked text."""
    chosen: Tensor
    """(B, L) True at the masked sub-words."""
    visual: Tensor
    """f^v(I) of the online network."""
    text: Tensor
    """f^w(T) of the online network."""
    target: Target | None
    batch: dict[str, Any]


class Target(NamedTuple):
    """The target network's features of the unmasked pairs; no gradient goes through them (sg)."""

    visual: Tensor
    fused_image: Tensor
    fused_text: Tensor


class PlainStep:
    """The losses of a batch that a pre-training task's spec asks for, and what follows a step.

    Args:
        task: gives weights, spec, masks and queue. Dropout is left out.
    """

    def __init__(self, task: PretrainTask) -> None:
        self.task, self.f, self.objectives = task, task.network, task.spec.objectives

    def __call__(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute ``loss`` and the losses that it is made of; see :meth:`PretrainTask.forward` for the batch."""
        views, weights = self.views(batch), self.objectives.weights
        names = [name for name in ("mrm", "mim", "mlm", "itc", "itm") if getattr(self.objectives, name)]
        losses = {name: getattr(self, name)(views) for name in names}
        # Eq. 6; the paper's weights are 1.
        total = torch.stack([getattr(weights, name) * loss for name, loss in losses.items()]).sum()
        return {"loss": total, **losses}

    def views(self, batch: dict[str, Any]) -> Views:
        """Mask the pairs in both ways, and encode them unmasked."""
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        patches, words = self.task.masks(ids, mask, batch["seed"], batch["step"])
        visible = torch.zeros(len(ids), self.f.vision.grid**2, dtype=torch.bool, device=ids.device)
        visible = visible.scatter(1, patches.keep, True)
        visual, text = encode_image(self.f, image), encode_text(self.f, ids, mask)
        target = self.target(image, ids, mask)
        return Views(image, ids, mask, visible, words.ids, words.chosen, visual, text, target, batch)

    @torch.no_grad()
    def target(self, image: Tensor, ids: Tensor, mask: Tensor) -> Target | None:
        """Encode and fuse the unmasked pairs by the target network."""
        if self.task.target is None:
            return None
        f = self.task.target.network
        visual, text = encode_image(f, image), encode_text(f, ids, mask)
        return Target(visual, *fuse(f, visual, text, mask))

    def masked_image(self, views: Views) -> Tensor:
        """f(I masked, T) at the image tokens."""
        return fuse(self.f, encode_image(self.f, views.image, views.visible), views.text, views.mask)[0]

    def masked_text(self, views: Views) -> Tensor:
        """f(I, T masked) at the text tokens."""
        return fuse(self.f, views.visual, encode_text(self.f, views.masked_ids, views.mask), views.mask)[1]

    def mrm(self, views: Views) -> Tensor:
        """Eq. 1: predict the target network's fused representations of the unmasked pair at every masked position."""
        assert views.target is not None and self.objectives.mrm is not None
        hidden, loss = ~views.visible, torch.zeros((), device=views.ids.device)
        if self.objectives.mrm.image:
            fused, target = self.masked_image(views)[:, 1:], views.target.fused_image[:, 1:]
            loss = loss + self.mrm_error(fused[hidden], target[hidden])
        if self.objectives.mrm.text:
            fused, target = self.masked_text(views), views.target.fused_text
            loss = loss + self.mrm_error(fused[views.chosen], target[views.chosen])
        return loss

    def mrm_error(self, online_MD: Tensor, target_MD: Tensor) -> Tensor:
        """l_mrm(x, y): the mean squared error of h(g(x)) and sg(g'(y)), g' the target's projector."""
        task = self.task
        predicted = task.predictor(task.online.projector(online_MD)).float()  # type: ignore[misc]
        with torch.no_grad():
            target = task.target.projector(target_MD).float()  # type: ignore[union-attr, misc]
        how, width = self.objectives.mrm.normalise, predicted.shape[-1]  # type: ignore[union-attr]
        if how == "l2":  # of unit length, as in BYOL: the error, summed over dimensions, is 2 - 2 cos
            predicted, target = (width**0.5 * F.normalize(x, dim=-1) for x in (predicted, target))
        if how == "layer":
            predicted, target = (F.layer_norm(x, (width,)) for x in (predicted, target))
        return F.mse_loss(predicted, target)

    def mim(self, views: Views) -> Tensor:
        """Eq. 2: predict the target network's visual features of the masked patches (or what Table 8 puts in their place)."""
        head, objective = self.task.mim_head, self.objectives.mim
        assert head is not None and objective is not None
        x = self.masked_image(views)
        for layer in head.decoder:  # Table 9; the paper's own depth is 0
            x = vit_layer(layer, x)  # type: ignore[arg-type]
        predicted, target = head.mlp(head.norm(x))[:, 1:][~views.visible].float(), self.mim_target(views)
        if objective.target == "visual_tokens":
            return F.cross_entropy(predicted, target)
        if objective.normalise_target:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
        return (predicted - target).abs().mean()

    @torch.no_grad()
    def mim_target(self, views: Views) -> Tensor:
        """Make what the masked patches predict (Table 8)."""
        task, name = self.task, self.objectives.mim.target  # type: ignore[union-attr]
        if name == "visual_tokens":
            targets = task.visual_tokenizer(views.image, self.f.vision.grid)  # type: ignore[misc]
        elif name == "pixels":
            size = task.spec.model.patch_size
            targets = F.unfold(views.image, kernel_size=size, stride=size).transpose(1, 2)
        elif task.mim_vision is not None:  # a momentum image encoder that follows at a pace of its own
            targets = task.mim_vision(views.image)[:, 1:]
        else:
            targets = views.target.visual[:, 1:].float()  # type: ignore[union-attr]
        return targets[~views.visible]

    def mlm(self, views: Views) -> Tensor:
        """Eq. 3: name the original sub-words; h_mlm is linear, its weights are the word embeddings."""
        labels = views.ids.masked_fill(~views.chosen, -100)  # the label that is left out of the mean
        return F.cross_entropy(self.mlm_logits(views).flatten(0, 1), labels.flatten())

    def mlm_logits(self, views: Views) -> Tensor:
        """h_mlm(f(I, masked T)) at all text tokens: (B, L, vocabulary)."""
        bias = self.task.mlm_head.bias  # type: ignore[union-attr]
        return F.linear(self.masked_text(views), self.f.text.embedding.words.weight, bias).float()

    def itc(self, views: Views) -> Tensor:
        """Eq. 4: InfoNCE between images and texts of the batch, both ways."""
        image_BE, text_BE = unit(self.f, views.visual, views.text)
        # s(I, T) / tau; not in bf16, whose steps are too coarse for a small tau.
        with torch.autocast(image_BE.device.type, enabled=False):
            scores = image_BE @ text_BE.T / self.f.temperature
        own = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2

    def itm(self, views: Views) -> Tensor:
        """Eq. 5: tell matched pairs from a hard negative for each image and each text, by the fused [CLS]."""
        batch, mask, objectives = views.batch, views.mask, self.objectives
        draws = uniform(batch["seed"], batch["step"], "itm", len(mask), 2).T.to(mask.device)
        random = objectives.random_negatives(batch["progress"])
        with torch.no_grad():
            units = unit(self.f, views.visual, views.text)
        wrong = hard_negatives(
            *units, self.f.temperature, batch["image_id"], draws, objectives.itm_group, random
        )
        matched = fuse(self.f, views.visual, views.text, mask)[1]
        visual = torch.cat([views.visual, views.visual[wrong.image]])
        text, masks = torch.cat([views.text[wrong.text], views.text]), torch.cat([mask[wrong.text], mask])
        unmatched = fuse(self.f, visual, text, masks)[1]
        logits = self.f.itm_head(torch.cat([matched, unmatched])[:, 0]).float()
        labels = torch.tensor([1] * len(matched) + [0] * len(unmatched), device=mask.device)
        return F.cross_entropy(logits, labels)

    @torch.no_grad()
    def after_step(self) -> None:
        """Clamp the temperature, and let the target follow the online network."""
        self.f.clamp_temperature()
        for follower in self.task.followers():
            follow(*follower)


def unit(f: Mamo, visual: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """g^v(v_cls) and g^t(w_cls) of Eq. 4, of unit length: (B, E) each."""
    image_BE = F.normalize(f.vision_projection(visual[:, 0]).float(), dim=-1)
    return image_BE, F.normalize(f.text_projection(text[:, 0]).float(), dim=-1)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """theta' <- alpha theta' + (1 - alpha) theta, one parameter after another (section 3.2.1)."""
    for average, parameter in zip(target.parameters(), online.parameters(), strict=True):
        average.data = average.data * momentum + parameter.data * (1.0 - momentum)
