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
from mamo.model.fusion import Fused
from mamo.model.mamo import Mamo
from mamo.model.target import make_target, update_target
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import hard_negatives, itm_loss
from mamo.objectives.masking import PatchMask, TextMask, TextMasker, at, mask_patches
from mamo.objectives.mim import MimHead, mim_loss, outputs, patch_pixels, spread
from mamo.objectives.mlm import MlmHead, mlm_loss
from mamo.objectives.mrm import make_predictor, make_projector, mrm_loss
from mamo.objectives.visual_tokens import VisualTokenizer
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.task import Task


class Distilled(nn.Module):
    """What online and target network have in common: f and the projector g."""

    def __init__(self, network: Mamo, projector: nn.Module | None) -> None:
        super().__init__()
        self.network = network
        self.projector = projector


class TargetFeatures(NamedTuple):
    """What the target network says of the unmasked pair; None where no objective asks."""

    vision: Tensor | None
    """(B, 1 + N, D) momentum visual features."""
    fused: Fused | None


class PretrainTask(Task):
    """The online network, its EMA target, and the objectives that the spec asks for."""

    def __init__(
        self,
        network: Mamo,
        spec: PretrainSpec,
        tokenizer: Tokenizer,
        visual_tokenizer: VisualTokenizer | None = None,
    ) -> None:
        super().__init__()
        self.spec = spec
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

    def train(self, mode: bool = True) -> PretrainTask:
        """Training mode for the online network; the target never drops anything out."""
        super().train(mode)
        if self.target is not None:
            self.target.eval()
        return self

    def after_step(self) -> None:
        """Clamp the temperature and let the target follow the online network (section 3.2.1)."""
        super().after_step()
        if self.target is not None:
            update_target(self.target, self.online, self.spec.target.momentum)

    def masks(self, ids_BL: Tensor, mask_BL: Tensor, seed: int, step: int) -> tuple[PatchMask, TextMask]:
        """The masks of a step: the same for a pair whatever the device, the rank or the padding of its batch."""
        draws = uniform(seed, step, "patches", len(ids_BL), self.network.vision.grid**2).to(ids_BL.device)
        return mask_patches(draws, self.spec.masking.image_ratio), self.masker(ids_BL, mask_BL, seed, step)

    @torch.no_grad()
    def target_features(self, image_B3SS: Tensor, ids_BL: Tensor, mask_BL: Tensor) -> TargetFeatures:
        """The unmasked pair through the target network, as far as objectives need it; sg is the missing gradient."""
        if self.target is None:
            return TargetFeatures(None, None)
        network = self.target.network
        vision = network.encode_image(image_B3SS)
        if self.spec.objectives.mrm is None:
            return TargetFeatures(vision, None)
        return TargetFeatures(vision, network.fuse(vision, network.encode_text(ids_BL, mask_BL), mask_BL))

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """One step's losses.

        Args:
            batch: image (B, 3, S, S), ids and mask (B, L), image_id (B,), and the seed and step that fix all draws.

        Returns:
            ``loss`` (the plain sum, Eq. 6), each objective's part, and the spread of projected features.
        """
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        wanted, network = self.spec.objectives, self.network
        patch_mask, text_mask = self.masks(ids, mask, batch["seed"], batch["step"])
        parts: dict[str, Tensor] = {}

        visual = network.encode_image(image)
        text = network.encode_text(ids, mask)
        views: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        if wanted.itc:
            image_BE, text_BE = network.project_image(visual), network.project_text(text)
            parts["itc"] = itc_loss(image_BE, text_BE, network.temperature)
        if wanted.itm:
            draws = uniform(batch["seed"], batch["step"], "itm", len(ids), 2).T.to(ids.device)
            negatives = hard_negatives(
                image_BE,
                text_BE,
                network.temperature,
                batch["image_id"],
                draws,
                wanted.itm_group,
                wanted.itm_random,
            )
            views["matched"] = (visual, text, mask)
            views["wrong_text"] = (visual, text[negatives.text], mask[negatives.text])
            views["wrong_image"] = (visual[negatives.image], text, mask)
        if wanted.mim or (wanted.mrm and wanted.mrm.image):
            views["masked_image"] = (network.encode_image(image, patch_mask.keep), text, mask)
        if wanted.mlm or (wanted.mrm and wanted.mrm.text):
            views["masked_text"] = (visual, network.encode_text(text_mask.ids, mask), mask)
        fused = self._fuse(views, patch_mask)

        if wanted.itm:
            logits = [
                network.itm_head(fused[view][:, 0]) for view in ("matched", "wrong_text", "wrong_image")
            ]
            parts["itm"] = itm_loss(*logits)
        if self.mlm_head is not None:
            parts["mlm"] = mlm_loss(self.mlm_head, fused["masked_text"], ids, text_mask.chosen)
        target = self.target_features(image, ids, mask)
        if wanted.mim and self.mim_head is not None:
            predicted = self.mim_head(fused["masked_image"], patch_mask.masked)
            parts["mim"] = mim_loss(wanted.mim, predicted, self._mim_target(image, target), patch_mask.masked)
        monitors = {}
        if wanted.mrm:
            parts["mrm"], monitors["spread"] = self._mrm(fused, target, patch_mask, text_mask)
        return {"loss": torch.stack(list(parts.values())).sum(), **parts, **monitors}

    def _fuse(self, views: dict[str, tuple[Tensor, Tensor, Tensor]], patches: PatchMask) -> dict[str, Tensor]:
        """All fusion passes as one call up to the last layer, which computes only what the objectives read.

        Returns:
            for the pairs that ITM judges the fused [CLS], (B, 1, D); for the masked text its text tokens, (B, L, D); for the
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
                wanted = whole[:, tokens:]
            elif name != "masked_image":
                wanted = whole[:, tokens : tokens + 1]
            elif self._decodes:
                wanted = whole[:, :tokens]
            else:
                wanted = at(whole[:, 1:tokens], patches.masked)
            found[name] = fusion.last(wanted, whole, hidden)
        return found

    @property
    def _decodes(self) -> bool:
        """Whether MIM's decoder reads all image tokens, not only the masked ones."""
        return self.mim_head is not None and len(self.mim_head.decoder) > 0

    def _mim_target(self, image_B3SS: Tensor, target: TargetFeatures) -> Tensor:
        """What the masked patches predict: (B, N, O), or (B, N) codes."""
        if self.visual_tokenizer is not None:
            return self.visual_tokenizer(image_B3SS, self.network.vision.grid)
        if target.vision is not None and self.spec.objectives.mim.target == "momentum_features":  # type: ignore[union-attr]
            return target.vision[:, 1:]
        return patch_pixels(image_B3SS, self.spec.model.patch_size)

    def _mrm(
        self, fused: dict[str, Tensor], target: TargetFeatures, patches: PatchMask, words: TextMask
    ) -> tuple[Tensor, Tensor]:
        """The two terms of Eq. 1, each over its masked positions, and the spread of the projected online features."""
        wanted, projector, predictor = self.spec.objectives.mrm, self.online.projector, self.predictor
        following = self.target.projector if self.target is not None else None
        if (
            wanted is None
            or projector is None
            or predictor is None
            or target.fused is None
            or following is None
        ):
            raise ValueError("MRM needs a target network and a projector: objectives.mrm is switched off")
        pairs = []
        if wanted.text:
            pairs.append((fused["masked_text"][words.chosen], target.fused.text[words.chosen]))
        if wanted.image:
            online = fused["masked_image"]
            masked = at(online[:, 1:], patches.masked) if self._decodes else online
            pairs.append((masked.flatten(0, 1), at(target.fused.image[:, 1:], patches.masked).flatten(0, 1)))
        losses, spreads = [], []
        for online_MD, target_MD in pairs:
            projected = projector(online_MD)
            with torch.no_grad():
                wanted_MD = following(target_MD)
            losses.append(mrm_loss(predictor(projected), wanted_MD))
            spreads.append(spread(projected))
        return torch.stack(losses).sum(), torch.stack(spreads).min()
