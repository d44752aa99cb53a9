"""Pre-training: the five objectives and their plain sum (section 3.2, Eq. 6).

Every distinct view is encoded once ({image, visible patches, text, masked text}), and all fusion passes of the online
network run as one batched call: the matched pair, two hard negatives, (masked image, text) and (image, masked text).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mamo.data.tokenizer import Tokenizer
from mamo.model.draws import uniform
from mamo.model.mamo import Mamo
from mamo.model.target import make_target, update_target
from mamo.model.vision import patch_pixels
from mamo.objectives.collapse import relative_error, spread_within
from mamo.objectives.distillation import (
    MomentumQueue,
    Pair,
    distilled_mlm_loss,
    momentum_itc_loss,
    soft_share,
)
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import Negatives, hard_negatives, itm_loss
from mamo.objectives.masking import PatchMask, TextMask, TextMasker, TextPlaces, at, mask_patches
from mamo.objectives.mim import MimHead, mim_loss, outputs, standardised
from mamo.objectives.mlm import MlmHead, mlm_loss
from mamo.objectives.mrm import make_predictor, make_projector, mrm_loss, normalised
from mamo.objectives.visual_tokens import VisualTokenizer
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.accumulation import Autocast, CachedFeatures, add_parts, part_of
from mamo.tasks.distilled import AtMasked, Distilled
from mamo.tasks.soundness import Average, Sound
from mamo.tasks.task import Task


class Wrong(NamedTuple):
    """What turns each pair into a wrong one: another image's features, another text's features and mask."""

    visual: Tensor
    text: Tensor
    mask: Tensor


class Counts(NamedTuple):
    """Masked positions of a rank's whole batch."""

    words: Tensor
    patches: Tensor


class PretrainTask(Task):
    """The online network, its EMA target, and the objectives that the spec asks for."""

    def __init__(
        self,
        network: Mamo,
        spec: PretrainSpec,
        tokenizer: Tokenizer,
        visual_tokenizer: VisualTokenizer | None = None,
        steps: int | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
        if steps is None and (spec.target.horizon or spec.target.mim_horizon):
            raise ValueError("target.horizon is a share of the run: say how many steps it has")
        self.momentum = spec.target.momentum_of(steps or 0)
        wanted = spec.objectives
        self.online = Distilled(network, make_projector(wanted.mrm, network.spec) if wanted.mrm else None)
        self.predictor = make_predictor(wanted.mrm, network.spec) if wanted.mrm else None
        self.mlm_head = MlmHead(network.text.embedding.words) if wanted.mlm else None
        codes = visual_tokenizer.codes if visual_tokenizer else 0
        self.mim_head = (
            MimHead(wanted.mim, network.spec, outputs(wanted.mim, network.spec, codes))
            if wanted.mim
            else None
        )
        self.target: Distilled | None = make_target(self.online) if spec.needs_target else None
        # The online network of the step before, where the target is that; MIM's own image encoder, where it has one.
        self.previous = make_target(self.online) if self.target is not None and spec.target.lag else None
        self.mim_momentum = spec.target.mim_momentum_of(steps or 0)
        self.mim_vision = (
            make_target(network.vision) if wanted.mim and self.mim_momentum is not None else None
        )
        distillation = wanted.distillation
        self.queue = (
            MomentumQueue(distillation.queue, spec.model.projection_width)
            if distillation and distillation.queue
            else None
        )
        self.momentum_mlm_head: MlmHead | None = None
        if distillation and distillation.alpha and self.mlm_head is not None and self.target is not None:
            self.momentum_mlm_head = MlmHead(self.target.network.text.embedding.words)
            self.momentum_mlm_head.load_state_dict(self.mlm_head.state_dict())
            self.momentum_mlm_head.requires_grad_(False)
        self.visual_tokenizer = visual_tokenizer
        self.masker = TextMasker(spec.masking, tokenizer, spec.model.max_words)

    @property
    def network(self) -> Mamo:  # type: ignore[override]
        """The online network f."""
        return self.online.network

    def newly_initialised(self) -> Iterable[nn.Module | nn.Parameter]:
        """Everything that neither the ViT nor BERT brings along."""
        network = self.network
        parts: list[nn.Module | nn.Parameter | None] = [self.online.projector, self.predictor]
        parts += [self.mlm_head, self.mim_head]
        parts += [network.vision_projection, network.text_projection, network.itm_head]
        parts += [network.fusion.mask_token, network.fusion.positions]
        return [part for part in parts if part is not None]

    def sound(self) -> Sound:
        """Every objective that the spec asks for, and a target that follows; heads of others have no gradient."""
        wanted, network = self.spec.objectives, self.network
        names = [name for name in ("itc", "itm", "mlm", "mim", "mrm") if getattr(wanted, name)]
        unread: list[nn.Module | nn.Parameter] = []
        if not wanted.itc:
            unread += [network.vision_projection, network.text_projection, network.temperature]
        if not (wanted.itc and wanted.itm):
            unread.append(network.itm_head)
            names = [name for name in names if name != "itm"]
        if not (wanted.mim or (wanted.mrm and wanted.mrm.image)):
            unread.append(network.fusion.mask_token)
        if names in ([], ["itc"]):
            unread.append(network.fusion)
        average = None
        if self.target is not None:
            average = None if self.previous else Average(self.target, self.online, self.momentum)
        features = {"image": network.vision, "text": network.text}
        if wanted.itc:
            features = {"image": network.vision_projection, "text": network.text_projection}
        return Sound(("loss", *names), tuple(unread), average, features)

    def train(self, mode: bool = True) -> PretrainTask:
        """Training mode for the online network; the target never drops anything out."""
        super().train(mode)
        for follower in (self.target, self.previous, self.mim_vision):
            if follower is not None:
                follower.eval()
        return self

    def after_step(self) -> None:
        """Clamp the temperature and let the target follow the online network (section 3.2.1)."""
        super().after_step()
        if self.target is not None and self.previous is not None:
            update_target(self.target, self.previous, 0.0)
            update_target(self.previous, self.online, 0.0)
        elif self.target is not None:
            update_target(self.target, self.online, self.momentum)
        if self.mim_vision is not None and self.mim_momentum is not None:
            update_target(self.mim_vision, self.network.vision, self.mim_momentum)
        if self.momentum_mlm_head is not None and self.mlm_head is not None:
            update_target(self.momentum_mlm_head, self.mlm_head, self.momentum)

    def masks(self, ids_BL: Tensor, mask_BL: Tensor, seed: int, step: int) -> tuple[PatchMask, TextMask]:
        """The masks of a step: the same for a pair whatever the device, the rank or the padding of its batch."""
        draws = uniform(seed, step, "patches", len(ids_BL), self.network.vision.grid**2).to(ids_BL.device)
        return mask_patches(draws, self.spec.masking.image_ratio), self.masker(ids_BL, mask_BL, seed, step)

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One step's losses.

        Args:
            batch: image (B, 3, S, S), ids and mask (B, L), image_id (B,), the seed and step that fix all draws, and the
                progress (share of the run) that weighs soft targets.

        Returns:
            ``loss`` (the sum of Eq. 6), each objective's part, and what is watched beside them: ``spread_*``, of MRM's
            projections within an image and within a text, and ``error_*``, losses over those of the batch's best constant.
        """
        ids, mask, network = batch["ids"], batch["mask"], self.network
        patches, words = self.masks(ids, mask, batch["seed"], batch["step"])
        visual = network.encode_image(batch["image"])
        text = network.encode_text(ids, mask)
        itc, negatives = self._contrast(batch, visual, text)
        wrong = None
        if negatives is not None:
            wrong = Wrong(visual[negatives.image], text[negatives.text], mask[negatives.text])
        parts, monitors = self._fused_losses(batch, visual, text, wrong, patches, words)
        parts = itc | parts
        return {"loss": self._sum(parts), **parts, **monitors}

    def _sum(self, parts: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the losses (Eq. 6; the paper's weights are 1)."""
        weights = self.spec.objectives.weights
        return torch.stack([getattr(weights, name) * value for name, value in parts.items()]).sum()

    def accumulate(self, batch: dict[str, Any], size: int, autocast: Autocast) -> dict[str, Tensor]:
        """The whole batch's gradient from micro-batches: ITC contrasts the features of all pairs, and ITM draws among them."""
        ids, mask = batch["ids"], batch["mask"]
        patches, words = self.masks(ids, mask, batch["seed"], batch["step"])
        cached = CachedFeatures(self.network, batch, size, autocast)
        with autocast():
            itc, negatives = self._contrast(batch, cached.visual, cached.text)
        if itc:
            self._sum(itc).backward()
        total = {name: value.detach().float() for name, value in itc.items()}
        watched: dict[str, list[Tensor]] = {}
        for part in cached.parts:
            share = (part.stop - part.start) / len(ids)
            wrong = None
            with autocast():
                if negatives is not None:
                    images, texts = negatives.image[part], negatives.text[part]
                    wrong = Wrong(cached.visual[images], cached.text[texts], mask[texts])
                parts, monitors = self._fused_losses(
                    part_of(batch, part),
                    cached.visual[part],
                    cached.text[part],
                    wrong,
                    PatchMask(*(indices[part] for indices in patches)),
                    TextMask(*(tokens[part] for tokens in words)),
                    Counts(words.chosen.sum(), ids.new_tensor(patches.masked.numel())),
                )
            # Means over pairs count by the pairs they are over; the others are shares of the whole batch's mean already.
            scaled = {
                name: value * share if name in ("itm", "mim") else value for name, value in parts.items()
            }
            if scaled:
                self._sum(scaled).backward()
            add_parts(total, scaled, 1.0)
            for name, value in monitors.items():
                watched.setdefault(name, []).append(value)
        cached.backward()
        monitors = {name: torch.stack(values).nanmean() for name, values in watched.items()}
        return {"loss": self._sum(total), **total, **monitors}

    def _contrast(
        self, batch: dict[str, Any], visual_BVD: Tensor, text_BLD: Tensor
    ) -> tuple[dict[str, Tensor], Negatives | None]:
        """ITC over all pairs of all ranks, and the negatives that ITM judges, as far as they are asked for."""
        wanted, network = self.spec.objectives, self.network
        if not wanted.itc:
            return {}, None
        image_BE, text_BE = network.project_image(visual_BVD), network.project_text(text_BLD)
        if wanted.distillation is None:
            parts = {"itc": itc_loss(image_BE, text_BE, network.temperature)}
        else:
            if self.target is None:
                raise ValueError(
                    "distillation needs a target network: objectives.distillation is switched off"
                )
            alpha, step = soft_share(wanted.distillation, batch["progress"]), batch["step"]
            followed = self.target.projections(batch["image"], batch["ids"], batch["mask"])
            pairs = Pair(image_BE, text_BE), followed
            parts = {"itc": momentum_itc_loss(*pairs, network.temperature, self.queue, step, alpha)}
        if not wanted.itm:
            return parts, None
        ids = batch["ids"]
        draws = uniform(batch["seed"], batch["step"], "itm", len(ids), 2).T.to(ids.device)
        negatives = hard_negatives(
            image_BE,
            text_BE,
            network.temperature,
            batch["image_id"],
            draws,
            wanted.itm_group,
            wanted.random_negatives(batch["progress"]),
        )
        return parts, negatives

    def _fused_losses(
        self,
        batch: dict[str, Any],
        visual: Tensor,
        text: Tensor,
        wrong: Wrong | None,
        patches: PatchMask,
        words: TextMask,
        counts: Counts | None = None,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The losses that read fused representations, and what is watched beside them.

        Args:
            visual, text: features of the pairs, unmasked.
            wrong: what makes a wrong pair of each, where ITM is asked for.
            counts: masked positions of the whole batch, where this is a part of it.
        """
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        wanted, network = self.spec.objectives, self.network
        parts: dict[str, Tensor] = {}
        views: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        if wrong is not None:
            views["matched"] = (visual, text, mask)
            views["wrong_text"] = (visual, wrong.text, wrong.mask)
            views["wrong_image"] = (wrong.visual, text, mask)
        if wanted.mim or (wanted.mrm and wanted.mrm.image):
            views["masked_image"] = (network.encode_image(image, patches.keep), text, mask)
        if wanted.mlm or (wanted.mrm and wanted.mrm.text):
            views["masked_text"] = (visual, network.encode_text(words.ids, mask), mask)
        places = words.places()
        fused = self._fuse(views, patches, places)

        if wrong is not None:
            logits = [
                network.itm_head(fused[view][:, 0]) for view in ("matched", "wrong_text", "wrong_image")
            ]
            parts["itm"] = itm_loss(*logits)
        if self.mlm_head is not None:
            count = counts.words if counts else None
            if self.momentum_mlm_head is None:
                parts["mlm"] = mlm_loss(self.mlm_head, fused["masked_text"], ids[words.chosen], count)
            else:
                parts["mlm"] = self._distilled_mlm(batch, fused["masked_text"], words, count)
        vision = None
        if self.target is not None and self.spec.predicts_features:
            vision = self.target.vision(image)
        monitors: dict[str, Tensor] = {}
        if wanted.mim and self.mim_head is not None:
            predicted, to_predict = (
                self.mim_head(fused["masked_image"], patches.masked),
                self.mim_target(image, vision),
            )
            parts["mim"] = mim_loss(wanted.mim, predicted, to_predict, patches.masked)
            if wanted.mim.target != "visual_tokens":
                masked = standardised(wanted.mim, at(to_predict, patches.masked)).flatten(0, 1)
                monitors["error_mim"] = relative_error(parts["mim"], masked, 1)
        if wanted.mrm:
            if self.target is None or vision is None:
                raise ValueError("MRM needs a target network: objectives.mrm is switched off")
            target = self.target.at_masked(vision, ids, mask, patches, places)
            parts["mrm"], watched = self._mrm(fused, target, patches, words, counts)
            monitors |= watched
        return parts, monitors

    def _distilled_mlm(
        self, batch: dict[str, Any], fused_KD: Tensor, words: TextMask, count: Tensor | None
    ) -> Tensor:
        """MLM with the target network's predictions for the same masked text as soft targets."""
        distillation, head, following = (
            self.spec.objectives.distillation,
            self.mlm_head,
            self.momentum_mlm_head,
        )
        assert distillation and head is not None and following is not None and self.target is not None
        chosen, mask = words.chosen, batch["mask"]
        with torch.no_grad():
            soft = following(
                self.target.fused(self.target.vision(batch["image"]), words.ids, mask).text[chosen]
            )
        logits, alpha = head(fused_KD), soft_share(distillation, batch["progress"])
        return distilled_mlm_loss(
            logits, soft, batch["ids"][chosen], alpha, chosen.sum() if count is None else count
        )

    def _fuse(
        self, views: dict[str, tuple[Tensor, Tensor, Tensor]], patches: PatchMask, words: TextPlaces
    ) -> dict[str, Tensor]:
        """All fusion passes as one call up to the last layer, which computes only what the objectives read.

        Returns:
            for the pairs that ITM judges the fused [CLS], (B, 1, D); for the masked text its chosen sub-words, (K, D); for the
            masked image its masked patches, (B, M, D), or all image tokens, (B, 1 + N, D), where a decoder reads them.
        """
        if not views:
            return {}
        fusion = self.network.fusion
        x, bias = fusion.before_last(*(torch.cat(parts) for parts in zip(*views.values(), strict=True)))
        batch, tokens = len(patches.masked), 1 + self.network.vision.grid**2
        found = {}
        for name, whole, hidden in zip(views, x.split(batch), bias.split(batch), strict=True):
            if name == "masked_text":
                wanted = at(whole[:, tokens:], words.places)
            elif name != "masked_image":
                wanted = whole[:, tokens : tokens + 1]
            elif self.decodes:
                wanted = whole[:, :tokens]
            else:
                wanted = at(whole[:, 1:tokens], patches.masked)
            fused = fusion.last(wanted, whole, hidden)
            found[name] = fused[words.real] if name == "masked_text" else fused
        return found

    @property
    def decodes(self) -> bool:
        """Whether MIM's decoder reads all image tokens, not only the masked ones."""
        return self.mim_head is not None and len(self.mim_head.decoder) > 0

    def mim_target(self, image_B3SS: Tensor, vision_BVD: Tensor | None) -> Tensor:
        """What the masked patches predict: (B, N, O), or (B, N) codes."""
        if self.visual_tokenizer is not None:
            return self.visual_tokenizer(image_B3SS, self.network.vision.grid)
        if vision_BVD is not None and self.spec.objectives.mim.target == "momentum_features":  # type: ignore[union-attr]
            if self.mim_vision is not None:
                with torch.no_grad():
                    vision_BVD = self.mim_vision(image_B3SS)
            return vision_BVD[:, 1:]
        return patch_pixels(image_B3SS, self.spec.model.patch_size)

    def _mrm(
        self,
        fused: dict[str, Tensor],
        target: AtMasked,
        patches: PatchMask,
        words: TextMask,
        counts: Counts | None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The two terms of Eq. 1, each over its masked positions, and what is watched of them."""
        wanted, projector, predictor = self.spec.objectives.mrm, self.online.projector, self.predictor
        following = self.target.projector if self.target is not None else None
        if wanted is None or projector is None or predictor is None or following is None:
            raise ValueError("MRM needs a target network and a projector: objectives.mrm is switched off")
        batch, masked = patches.masked.shape
        pairs = []
        if wanted.text:
            item = words.chosen.nonzero()[:, 0]
            pairs.append(("text", fused["masked_text"], target.text, item, counts.words if counts else None))
        if wanted.image:
            online = fused["masked_image"]
            online = at(online[:, 1:], patches.masked) if self.decodes else online
            item = torch.arange(batch, device=online.device).repeat_interleave(masked)
            count = counts.patches if counts else None
            pairs.append(("image", online.flatten(0, 1), target.image.flatten(0, 1), item, count))
        losses, errors, watched = [], [], dict[str, Tensor]()
        for name, online_MD, target_MD, item_M, count in pairs:
            projected = projector(online_MD)
            with torch.no_grad():
                wanted_MD = following(target_MD)
            losses.append(mrm_loss(predictor(projected), wanted_MD, count, wanted.normalise))
            share = 1.0 if count is None else len(wanted_MD) / count
            errors.append(relative_error(losses[-1] / share, normalised(wanted_MD, wanted.normalise), 2))
            watched[f"spread_{name}"] = spread_within(projected, item_M, batch)
        return torch.stack(losses).sum(), watched | {"error_mrm": torch.stack(errors).mean()}
