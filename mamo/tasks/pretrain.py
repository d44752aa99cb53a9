"""Pre-training, fast: the five losses and their sum (section 3.2, Eq. 6).

:mod:`mamo.method` states the same step plainly, in the paper's order; a test holds losses and gradients of both equal. Here
every distinct view is encoded once ({image, visible patches, text, masked text}), all fusion passes of the online network run
as one batched call, its last layer computes only the tokens that are read, and predictors see masked positions alone.

Shapes: B pairs (of this rank, or of one of its micro-batches), S side of an image, N patches, V = 1 + N visual tokens, M masked
patches of an image, L sub-words of a text, K masked sub-words of all texts, D width, E width of ITC's projections.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.model.step_random import uniform
from mamo.model.target import make_target
from mamo.model.vision import gather_tokens
from mamo.objectives.collapse import std_within_items
from mamo.objectives.distillation import (
    MomentumQueue,
    Pair,
    distilled_mlm_loss,
    momentum_itc_loss,
    soft_share,
)
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import Negatives, itm_loss
from mamo.objectives.masking import PatchMask, TextMask, TextMasker, mask_patches
from mamo.objectives.mim import MimHead, mim_error, mim_loss
from mamo.objectives.mim_targets import TARGETS, MimInputs
from mamo.objectives.mlm import MlmHead, mlm_loss
from mamo.objectives.mrm import make_predictor, make_projector, mrm_error, mrm_loss
from mamo.objectives.visual_tokens import VisualTokenizer
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.accumulation import Autocast
from mamo.tasks.batch_pass import BatchPass, Losses, MicroBatches, WholeBatch
from mamo.tasks.expectations import Average, StepExpectations
from mamo.tasks.momentum import Follower, MomentumTask
from mamo.tasks.pretrain_expectations import pretraining_expectations
from mamo.tasks.projected import ProjectedNetwork
from mamo.tasks.views import Pairs, draw_negatives, fuse_views, take_pairs


class PretrainTask(MomentumTask):
    """The online network, its EMA target, and the objectives that the spec asks for.

    Args:
        network: f, with starting weights.
        visual_tokenizer: where MIM predicts visual tokens.
        steps: of the whole run, where the target's momentum is given as a horizon.

    Raises:
        ValueError: a horizon is given, and the number of steps is not.
    """

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
        objectives, distillation = spec.objectives, spec.objectives.distillation
        # The order of what is made here is the order of its random numbers and of stored states: it must stay.
        self.online = ProjectedNetwork(
            network, make_projector(objectives.mrm, network.spec) if objectives.mrm else None
        )
        # On the online side alone: the asymmetry that Table 7 takes away.
        self.predictor = make_predictor(objectives.mrm, network.spec) if objectives.mrm else None
        self.mlm_head = MlmHead(network.text.embedding.words) if objectives.mlm else None
        codes = visual_tokenizer.codes if visual_tokenizer else 0
        self.mim_head = MimHead(objectives.mim, network.spec, codes) if objectives.mim else None
        self.momentum = spec.target.momentum_of(steps or 0)
        self.target: ProjectedNetwork | None = make_target(self.online) if spec.needs_target else None
        # The online network of the step before, where the target is that (Table 7, a reading of "w/o EMA").
        self.previous = make_target(self.online) if self.target is not None and spec.target.lag else None
        # An image encoder with a horizon of its own, where MIM predicts that and not the target network's.
        self.mim_momentum = spec.target.mim_momentum_of(steps or 0)
        own_vision = objectives.mim and self.mim_momentum is not None
        self.mim_vision = make_target(network.vision) if own_vision else None
        size = distillation.queue if distillation else 0
        self.queue = MomentumQueue(size, spec.model.projection_width) if size else None
        self.momentum_mlm_head: MlmHead | None = None
        if distillation and distillation.alpha and self.mlm_head is not None and self.target is not None:
            self.momentum_mlm_head = MlmHead(self.target.network.text.embedding.words)
            # Tied to the target's word embeddings, so only its bias is a parameter of its own.
            self.momentum_mlm_head.load_state_dict(self.mlm_head.state_dict())
            self.momentum_mlm_head.requires_grad_(False)
        self.visual_tokenizer = visual_tokenizer
        self.masker = TextMasker(spec.masking, tokenizer, spec.model.max_words)

    @property
    def network(self) -> Mamo:
        """The online network f."""
        return self.online.network

    def newly_initialised(self) -> Iterable[nn.Module | nn.Parameter]:
        """Return everything that neither the ViT nor BERT brings along."""
        network = self.network
        parts: list[nn.Module | nn.Parameter | None] = [self.online.projector, self.predictor]
        parts += [self.mlm_head, self.mim_head]
        parts += [network.vision_projection, network.text_projection, network.itm_head]
        parts += [network.fusion.mask_token, network.fusion.positions]
        return [part for part in parts if part is not None]

    def expectations(self) -> StepExpectations:
        """See :func:`pretraining_expectations`."""
        follows = self.target is not None and self.previous is None
        average = Average(self.target, self.online, self.momentum) if follows else None  # type: ignore[arg-type]
        return pretraining_expectations(self.spec.objectives, self.network, average)

    def followers(self) -> list[Follower]:
        """Return the networks that follow others after each step (section 3.2.1), in the order in which they do."""
        # With a lag the target takes over the step before, and only then does that become the present one.
        leader, momentum = (self.previous, 0.0) if self.previous is not None else (self.online, self.momentum)
        triples = [
            (self.target, leader, momentum),
            (self.previous, self.online, 0.0),
            (self.mim_vision, self.network.vision, self.mim_momentum),
            (self.momentum_mlm_head, self.mlm_head, self.momentum),
        ]
        return [Follower(*triple) for triple in triples if triple[0] is not None]  # type: ignore[arg-type]

    @property
    def decodes(self) -> bool:
        """True if MIM's decoder reads all image tokens, not only the masked ones."""
        return self.mim_head is not None and self.mim_head.decodes

    def forward(self, batch: dict[str, Any], through: BatchPass | None = None) -> Losses:
        """Compute one step's losses.

        Args:
            batch: image (B, 3, S, S), ids and mask (B, L), image_id (B,), the seed and step that fix all draws, and the
                progress (share of the run) that weighs soft targets.
            through: how the batch goes through the network; None: as a whole.

        Returns:
            ``loss`` (the sum of Eq. 6), each objective's part, and monitored values: ``spread_*``, the deviation of
            MRM's projections within an image and within a text, and ``error_*``, a loss over that of the best constant.
        """
        through = through or WholeBatch(self.network, batch, self.weighted_sum)
        patches, words = self.masks(batch["ids"], batch["mask"], batch["seed"], batch["step"])
        with through.computing():
            itc, negatives = self.itc(batch, through.visual, through.text)  # Eq. 4, and the draw for Eq. 5
            through.add(itc=itc)
        for part in through.parts:
            with through.computing():
                pairs = take_pairs(batch, through, part, negatives, patches, words)
                fused = fuse_views(self.network, self.spec.objectives, pairs, self.decodes)
                vision = self.target_vision(pairs)
                itm = self.itm(pairs, fused)  # Eq. 5
                mlm = self.mlm(pairs, fused)  # Eq. 3
                mim, mim_monitors = self.mim(pairs, fused, vision)  # Eq. 2
                mrm, mrm_monitors = self.mrm(pairs, fused, vision)  # Eq. 1
                through.add(itm=itm, mlm=mlm, mim=mim, mrm=mrm)
                through.monitor(mim_monitors | mrm_monitors, pairs.share)
        return through.result()

    def accumulate(self, batch: dict[str, Any], size: int, autocast: Autocast) -> Losses:
        """Leave the whole batch's gradient on the parameters, with ``size`` pairs in the network at once."""
        return self(batch, MicroBatches(self.network, batch, size, autocast, self.weighted_sum))

    def weighted_sum(self, losses: Losses) -> Tensor:
        """Sum losses by their weights (Eq. 6, where each counts 1)."""
        weights = self.spec.objectives.weights
        return torch.stack([getattr(weights, name) * value for name, value in losses.items()]).sum()

    def masks(self, ids_BL: Tensor, mask_BL: Tensor, seed: int, step: int) -> tuple[PatchMask, TextMask]:
        """Draw the masks of a step: the same for a pair whatever the device, the rank or the padding of its batch."""
        draws = uniform(seed, step, "patches", len(ids_BL), self.network.vision.grid**2).to(ids_BL.device)
        return mask_patches(draws, self.spec.masking.image_ratio), self.masker(ids_BL, mask_BL, seed, step)

    def target_vision(self, pairs: Pairs) -> Tensor | None:
        """Encode the unmasked images by the target network, (B, V, D), where MIM or MRM predicts what it makes of them."""
        return self.target.vision(pairs.image) if self.target and self.spec.predicts_features else None

    def itc(
        self, batch: dict[str, Any], visual_BVD: Tensor, text_BLD: Tensor
    ) -> tuple[Tensor | None, Negatives | None]:
        """Contrast all pairs of all ranks (Eq. 4), and draw the negatives that ITM judges (section 3.2.2)."""
        objectives, network = self.spec.objectives, self.network
        if not objectives.itc:
            return None, None
        image_BE, text_BE = network.project_image(visual_BVD), network.project_text(text_BLD)
        if objectives.distillation is None:
            loss = itc_loss(image_BE, text_BE, network.temperature)
        else:
            assert self.target is not None, "a spec with distillation needs a target network"
            alpha, step = soft_share(objectives.distillation, batch["progress"]), batch["step"]
            momentum = self.target.projections(batch["image"], batch["ids"], batch["mask"])
            online = Pair(image_BE, text_BE)
            loss = momentum_itc_loss(online, momentum, network.temperature, self.queue, step, alpha)
        if not objectives.itm:
            return loss, None
        random = objectives.random_negatives(batch["progress"])
        return loss, draw_negatives(
            batch, image_BE, text_BE, network.temperature, objectives.itm_group, random
        )

    def itm(self, pairs: Pairs, fused: dict[str, Tensor]) -> Tensor | None:
        """Judge matched and wrong pairs by their fused [CLS] (Eq. 5)."""
        if "matched" not in fused:
            return None
        matched, wrong_text, wrong_image = (
            self.network.itm_head(fused[view][:, 0]) for view in ("matched", "wrong_text", "wrong_image")
        )
        return itm_loss(matched, wrong_text, wrong_image, pairs.share)

    def mlm(self, pairs: Pairs, fused: dict[str, Tensor]) -> Tensor | None:
        """Predict the masked sub-words (Eq. 3), with soft targets of the target network where ALBEF's are asked for."""
        if self.mlm_head is None:
            return None
        hidden = pairs.ids[pairs.words.chosen]
        if self.momentum_mlm_head is None:
            return mlm_loss(self.mlm_head, fused["masked_text"], hidden, pairs.counts.words)
        distillation = self.spec.objectives.distillation
        assert distillation is not None and self.target is not None
        # The target reads the masked text, as ALBEF's does: it says what could stand there, not what stood there.
        with torch.no_grad():
            vision = self.target.vision(pairs.image)
            text = self.target.fused(vision, pairs.words.ids, pairs.mask).text
            soft = self.momentum_mlm_head(text[pairs.words.chosen])
        logits, alpha = self.mlm_head(fused["masked_text"]), soft_share(distillation, pairs.progress)
        return distilled_mlm_loss(logits, soft, hidden, alpha, pairs.counts.words)

    def mim(
        self, pairs: Pairs, fused: dict[str, Tensor], vision: Tensor | None
    ) -> tuple[Tensor | None, Losses]:
        """Predict the masked patches (Eq. 2); return the loss and its monitored value."""
        objective = self.spec.objectives.mim
        if objective is None or self.mim_head is None:
            return None, {}
        masked = pairs.patches.masked
        predicted, target = self.mim_head(fused["masked_image"], masked), self.mim_target(pairs.image, vision)
        loss = mim_loss(objective, predicted, target, masked, pairs.share)
        error = mim_error(objective, loss, target, masked, pairs.share)
        return loss, {} if error is None else {"error_mim": error}

    def mim_target(self, image_B3SS: Tensor, vision_BVD: Tensor | None) -> Tensor:
        """Make what patches predict: vectors (B, N, O), or codes (B, N).

        Args:
            vision_BVD: the target network's features of the unmasked images.
        """
        objective = self.spec.objectives.mim
        assert objective is not None
        if self.mim_vision is not None and objective.predicts_features:
            with torch.no_grad():
                vision_BVD = self.mim_vision(image_B3SS)
        grid, size = self.network.vision.grid, self.spec.model.patch_size
        return TARGETS[objective.target].make(
            MimInputs(image_B3SS, vision_BVD, self.visual_tokenizer, grid, size)
        )

    def mrm(
        self, pairs: Pairs, fused: dict[str, Tensor], vision: Tensor | None
    ) -> tuple[Tensor | None, Losses]:
        """Predict the target network's fused representations at the masked positions (Eq. 1, a term for each modality)."""
        asked = self.spec.objectives.mrm
        if asked is None:
            return None, {}
        projector, predictor, target = self.online.projector, self.predictor, self.target
        assert projector and predictor and target and target.projector and vision is not None
        predicted = target.at_masked(vision, pairs.ids, pairs.mask, pairs.patches, pairs.places)
        batch, masked = pairs.patches.masked.shape
        terms = {}
        if asked.text:
            item = pairs.words.chosen.nonzero()[:, 0]
            terms["text"] = (fused["masked_text"], predicted.text, item, pairs.counts.words)
        if asked.image:
            online = fused["masked_image"]
            online = gather_tokens(online[:, 1:], pairs.patches.masked) if self.decodes else online
            item = torch.arange(batch, device=online.device).repeat_interleave(masked)
            terms["image"] = (online.flatten(0, 1), predicted.image.flatten(0, 1), item, pairs.counts.patches)
        losses, errors, monitors = [], [], dict[str, Tensor]()
        for name, (online_MD, target_MD, item_M, count) in terms.items():
            projected = projector(online_MD)
            # g projects the target's side by the target's own, slower copy.
            with torch.no_grad():
                goal = target.projector(target_MD)
            losses.append(mrm_loss(predictor(projected), goal, count, asked.normalise))
            errors.append(mrm_error(losses[-1], goal, count, asked.normalise))
            monitors[f"spread_{name}"] = std_within_items(projected, item_M, batch)
        return torch.stack(losses).sum(), monitors | {"error_mrm": torch.stack(errors).mean()}
