"""Measure whether pre-training's mechanisms work, on a few validation pairs while a run trains.

A loss that falls does not say that a masked patch is told from its neighbours, that the other modality helps, or that the
teacher is worth following. Each is measured here against a baseline that knows no more than the item's own mean. Nothing is
trained, no random number of the run is drawn, and the pairs are those of a validation split.

Shapes: B pairs, N patches, M masked patches, L sub-words, K chosen sub-words of all texts, D and O widths.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mamo.data.batches.collate import Batch
from mamo.model.mamo import Mamo
from mamo.model.vision import gather_tokens
from mamo.objectives.masking import PatchMask, TextMask
from mamo.objectives.mim_targets import standardised
from mamo.objectives.mrm import normalised
from mamo.tasks.evaluating import evaluation_mode
from mamo.tasks.pretrain import PretrainTask
from mamo.tasks.recall import rerank, shortlist

SHORTLIST = 8  # candidates that ITM re-ranks
SAMPLE = 64  # values of each tensor by which the teacher's way is measured


class ValidationPairs(NamedTuple):
    """Validation pairs, each of another image, as a batch: image (B, 3, S, S), ids and mask (B, L), image_id (B,)."""

    batch: Batch
    size: int
    """Pairs that go through the network at once."""

    def parts(self) -> Iterator[Batch]:
        """Yield the pairs in micro-batches."""
        for start in range(0, len(self.batch["ids"]), self.size):
            part = slice(start, start + self.size)
            yield {k: v[part] if isinstance(v, Tensor) else v for k, v in self.batch.items()}


class Ratio:
    """Sums over micro-batches of an error and of the baseline's, and per-item differences between right and wrong partner."""

    def __init__(self) -> None:
        self.error = self.baseline = self.wrong = 0.0
        self.missed = self.deviation = 0.0
        self.gains: list[Tensor] = []

    def add(self, error_B: Tensor, baseline_B: Tensor | None, wrong_B: Tensor) -> None:
        """Add errors of a micro-batch's items: the model's, the baseline's, and the model's with a wrong partner."""
        self.error += float(error_B.sum())
        self.baseline += float(baseline_B.sum()) if baseline_B is not None else 0.0
        self.wrong += float(wrong_B.sum())
        self.gains.append((wrong_B - error_B).double().cpu())

    def add_within(self, predicted_MD: Tensor, target_MD: Tensor, items_M: Tensor) -> None:
        """Compare deviations from the items' means, of predictions with those of targets.

        Args:
            items_M: for each masked position, which item it is of.
        """
        predicted_MD, target_MD = (_less_means(x.float(), items_M) for x in (predicted_MD, target_MD))
        self.missed += float((predicted_MD - target_MD).square().mean(-1).sum())
        self.deviation += float(target_MD.square().mean(-1).sum())

    @property
    def skill(self) -> float:
        """1 - error / baseline."""
        return 1.0 - self.error / max(self.baseline, 1e-12)

    @property
    def within(self) -> float:
        """R² within items, the level of each item left out on both sides."""
        return 1.0 - self.missed / max(self.deviation, 1e-12)

    @property
    def partner(self) -> float:
        """The rise of the error with a wrong partner, as a share of the error."""
        return (self.wrong - self.error) / max(self.error, 1e-12)

    @property
    def sure(self) -> float:
        """The mean gain by the right partner over its standard error."""
        gains = torch.cat(self.gains)
        return float(gains.mean() / (gains.std() / len(gains) ** 0.5).clamp(min=1e-12))


def measure_pairs(task: PretrainTask, pairs: ValidationPairs, draw: int = 0) -> dict[str, float]:
    """Measure on the pairs all that needs no gradients; what the spec does not ask for is left out.

    Args:
        draw: number of the masks; the same number hides the same patches and sub-words.

    Returns:
        ``mim_skill``, ``mrm_image_r2``, ``mrm_text_r2``: 1 - error / error of the item's own median or mean, where masked;
        ``mrm_*_within_r2``: the same of deviations from the item's mean over its masked positions, of predictions and targets;
        ``*_target_spread``: deviation within an item over the root mean square, of what is to be predicted;
        ``*_partner`` and ``*_partner_z``: the rise of the error with a wrong partner, as its share, and in standard errors;
        ``itc_*``, ``teacher_*``, ``itm_*``: R@1 among the pairs by similarity, by the teacher's, and re-ranked by ITM.
    """
    with evaluation_mode(task), torch.no_grad():
        return _masked(task, pairs, draw) | _recall(task, pairs)


def _masked(task: PretrainTask, pairs: ValidationPairs, draw: int) -> dict[str, float]:
    objectives, network = task.spec.objectives, task.network
    # MRM is measured by modality: one of its two terms may work and the other not.
    names = ["mlm"] * bool(objectives.mlm) + ["mim"] * bool(objectives.mim)
    if objectives.mrm:
        names += ["mrm_image"] * objectives.mrm.image + ["mrm_text"] * objectives.mrm.text
    ratios, spreads = {name: Ratio() for name in names}, {name: [0.0, 0.0] for name in names if name != "mlm"}
    for step, batch in enumerate(pairs.parts()):
        image, ids, mask = batch["image"], batch["ids"], batch["mask"]
        # The same masks at every measurement, so that values of one run can be compared.
        patches, words = task.masks(ids, mask, seed=draw, step=step)
        targets = _targets(task, batch)
        if {"mim", "mrm_image"} & set(names):
            masked = network.encode_image(image, patches.keep)
            text = network.encode_text(ids, mask)
            # A neighbour's text is a wrong partner: every pair shows another image.
            right, wrong = (network.fuse(masked, text.roll(by, 0), mask.roll(by, 0)).image for by in (0, 1))
            for name in ("mim", "mrm_image"):
                if name in targets:
                    _image_side(task, name, right, wrong, targets[name], patches, ratios[name])
                    _add_spread(spreads[name], targets[name])
        if {"mlm", "mrm_text"} & set(names):
            visual, text = network.encode_image(image), network.encode_text(words.ids, mask)
            right, wrong = (network.fuse(visual.roll(by, 0), text, mask).text for by in (0, 1))
            _text_side(task, right, wrong, targets.get("mrm_text"), batch, words, ratios)
            if "mrm_text" in targets:
                _add_spread(spreads["mrm_text"], targets["mrm_text"], mask)
    skills: dict[str, float] = {}
    for name, ratio in ratios.items():
        if name != "mlm":
            skills["mim_skill" if name == "mim" else f"{name}_r2"] = ratio.skill
            if name != "mim":
                skills[f"{name}_within_r2"] = ratio.within
            within, square = spreads[name]
            skills[f"{name}_target_spread"] = (within / max(square, 1e-12)) ** 0.5
        skills |= {f"{name}_partner": ratio.partner, f"{name}_partner_z": ratio.sure}
    return skills


def _targets(task: PretrainTask, batch: Batch) -> dict[str, Tensor]:
    """Make the targets of every position, masked or not: patches (B, N, O), sub-words (B, L, O)."""
    objectives, target, targets = task.spec.objectives, task.target, {}
    vision = target.vision(batch["image"]) if target is not None else None
    if objectives.mim:
        targets["mim"] = standardised(objectives.mim, task.mim_target(batch["image"], vision))
    if objectives.mrm and target is not None and vision is not None and target.projector is not None:
        fused = target.fused(vision, batch["ids"], batch["mask"])
        if objectives.mrm.image:
            targets["mrm_image"] = normalised(target.projector(fused.image[:, 1:]), objectives.mrm.normalise)
        if objectives.mrm.text:
            targets["mrm_text"] = normalised(target.projector(fused.text), objectives.mrm.normalise)
    return targets


def _image_side(
    task: PretrainTask,
    name: str,
    right: Tensor,
    wrong: Tensor,
    target: Tensor,
    patches: PatchMask,
    ratio: Ratio,
) -> None:
    """Add errors at the masked patches of fused image tokens (B, 1 + N, D), with the right text and with a wrong one."""

    def predicted(fused: Tensor) -> Tensor:
        if name == "mrm_image":
            return _mrm(task, gather_tokens(fused[:, 1:], patches.masked))
        assert task.mim_head is not None
        return task.mim_head(
            fused if task.decodes else gather_tokens(fused[:, 1:], patches.masked), patches.masked
        )

    if target.ndim == 2:  # codes: the share of wrong ones, against always naming the image's commonest
        codes = target.gather(1, patches.masked)
        common = (codes == target.mode(1).values[:, None]).float()
        missed = [(predicted(fused).argmax(-1) != codes).float().sum(1) for fused in (right, wrong)]
        ratio.add(missed[0], (1 - common).sum(1), missed[1])
        return
    hidden, power = gather_tokens(target, patches.masked), 2 if name == "mrm_image" else 1
    middle = target.mean(1, keepdim=True) if power == 2 else target.median(1, keepdim=True).values
    guessed = [predicted(fused) for fused in (right, wrong)]
    errors = [_error(guess, hidden, power).sum(1) for guess in guessed]
    ratio.add(errors[0], _error(middle, hidden, power).sum(1), errors[1])
    if name == "mrm_image":
        items = torch.arange(len(hidden), device=hidden.device).repeat_interleave(hidden.shape[1])
        ratio.add_within(guessed[0].flatten(0, 1), hidden.flatten(0, 1), items)


def _text_side(
    task: PretrainTask,
    right: Tensor,
    wrong: Tensor,
    target: Tensor | None,
    batch: Batch,
    words: TextMask,
    ratios: dict[str, Ratio],
) -> None:
    """Add errors at the masked sub-words of fused text tokens (B, L, D), with the right image and with a wrong one."""
    chosen, mask = words.chosen, batch["mask"]
    rows = chosen.nonzero()[:, 0]

    # Summed by text: standard errors are over pairs, since words of one text are not independent.
    def by_text(errors_K: Tensor) -> Tensor:
        return errors_K.new_zeros(len(chosen)).index_add_(0, rows, errors_K)

    if "mlm" in ratios and task.mlm_head is not None:
        errors = [
            by_text(
                F.cross_entropy(task.mlm_head(fused[chosen]).float(), batch["ids"][chosen], reduction="none")
            )
            for fused in (right, wrong)
        ]
        ratios["mlm"].add(errors[0], None, errors[1])
    if target is not None:
        real = mask[..., None].to(target.dtype)
        # The text's mean over all its sub-words: over the few masked ones it would know what it is to predict.
        middle = ((target * real).sum(1) / real.sum(1))[rows]
        guessed = [_mrm(task, fused[chosen]) for fused in (right, wrong)]
        errors = [by_text(_error(guess, target[chosen], 2)) for guess in guessed]
        ratios["mrm_text"].add(errors[0], by_text(_error(middle, target[chosen], 2)), errors[1])
        ratios["mrm_text"].add_within(guessed[0], target[chosen], rows)


def _mrm(task: PretrainTask, fused: Tensor) -> Tensor:
    """Compute h(g(fused)), as Eq. 1 compares it."""
    assert task.online.projector is not None and task.predictor is not None and task.spec.objectives.mrm
    return normalised(task.predictor(task.online.projector(fused)), task.spec.objectives.mrm.normalise)


def _error(predicted: Tensor, target: Tensor, power: int) -> Tensor:
    """Compute the absolute or squared error of vectors, its mean over dimensions."""
    difference = predicted.float() - target.float()
    return (difference.abs() if power == 1 else difference.square()).mean(-1)


def _less_means(values_MD: Tensor, items_M: Tensor) -> Tensor:
    """Subtract from each vector the mean of its item's."""
    count = int(items_M.max()) + 1 if len(items_M) else 0
    sums = values_MD.new_zeros(count, values_MD.shape[1]).index_add_(0, items_M, values_MD)
    return values_MD - (sums / items_M.bincount(minlength=count)[:, None].clamp(min=1))[items_M]


def _add_spread(sums: list[float], target: Tensor, mask_BL: Tensor | None = None) -> None:
    """Add a micro-batch's squared deviation from the items' means, and its squares; codes count as one-hot vectors."""
    if target.ndim == 2:
        share = torch.stack([row.unique(return_counts=True)[1].square().sum() for row in target])
        sums[0] += float((1 - share / target.shape[1] ** 2).sum())
        sums[1] += len(target)
        return
    real = target.new_ones(target.shape[:2]) if mask_BL is None else mask_BL.to(target.dtype)
    count, weight = real.sum(1, keepdim=True)[..., None], real[..., None]
    mean = (target * weight).sum(1, keepdim=True) / count
    sums[0] += float(((target - mean).square() * weight / count).sum())
    sums[1] += float((target.square() * weight / count).sum())


def _recall(task: PretrainTask, pairs: ValidationPairs) -> dict[str, float]:
    """Measure R@1 of both directions among the pairs: by the online network's similarity, re-ranked, and by the teacher's."""
    objectives, recalls = task.spec.objectives, dict[str, float]()
    if not objectives.itc:
        return recalls
    networks = {"itc": task.network} | ({"teacher": task.target.network} if task.target is not None else {})
    for name, network in networks.items():
        # In micro-batches, since neither network need fit all pairs at once.
        encoded = [_encode(network, batch) for batch in pairs.parts()]
        similarity = torch.cat([e[2] for e in encoded]) @ torch.cat([e[3] for e in encoded]).T
        recalls |= {f"{name}_{k}": v for k, v in _at_1(similarity, None).items()}
        if name == "itc" and objectives.itm:
            mask = pairs.batch["mask"]
            features = torch.cat([e[0] for e in encoded]), torch.cat([e[1] for e in encoded]), mask
            recalls |= {f"itm_{k}": v for k, v in _at_1(similarity, (network, *features, pairs.size)).items()}
    return recalls


def _encode(network: Mamo, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    visual, text = network.encode_image(batch["image"]), network.encode_text(batch["ids"], batch["mask"])
    return visual, text, network.project_image(visual), network.project_text(text)


def _at_1(similarity: Tensor, ranker: tuple[Mamo, Tensor, Tensor, Tensor, int] | None) -> dict[str, float]:
    """Measure R@1 in percent of text and image retrieval among pairs; with a ranker, of the re-ranked shortlists."""
    own, recalls = torch.arange(len(similarity), device=similarity.device), {}
    for name, scores in (("tr", similarity), ("ir", similarity.T)):
        listed = shortlist(scores, own, own, min(SHORTLIST, len(own)))
        ranks = listed.first
        if ranker is not None:
            network, visual, text, mask, size = ranker
            queries, candidates = (
                own.repeat_interleave(listed.candidates.shape[1]),
                listed.candidates.flatten(),
            )
            images, texts = (queries, candidates) if name == "tr" else (candidates, queries)
            logits = torch.cat(
                [
                    network.matching_logits(visual[i], text[t], mask[t])
                    for i, t in zip(images.split(2 * size), texts.split(2 * size), strict=True)
                ]
            )
            ranks = rerank(listed, (logits[:, 1] - logits[:, 0]).view_as(listed.candidates))
        recalls[f"{name}_r1"] = 100.0 * float((ranks == 1).double().mean())
    return recalls


def gradient_shares(task: PretrainTask, batch: Batch) -> dict[str, float]:
    """Compute the norm of each loss's gradient in the fusion encoder, weighted as in the sum, over the largest of them.

    Args:
        batch: as for :meth:`PretrainTask.forward`. What exceeds whole groups of ITM's negatives is left out; nothing is
            measured where the pairs do not fill one.
    """
    objectives = task.spec.objectives
    count = len(batch["ids"])
    # ITM draws its negatives within whole groups.
    count -= count % objectives.itm_group if objectives.itm else 0
    if count < 2:
        return {}
    batch = {name: value[:count] if isinstance(value, Tensor) else value for name, value in batch.items()}
    norms = {}
    with evaluation_mode(task), torch.enable_grad():
        parameters = [p for p in task.network.fusion.parameters() if p.requires_grad]
        values = task(batch)
        for name in objectives.names:
            if name == "itc":  # it reads no fused token
                continue
            gradients = torch.autograd.grad(values[name], parameters, retain_graph=True, allow_unused=True)
            squares = [g.float().square().sum() for g in gradients if g is not None]
            # Weighted as in Eq. 6's sum: a share says how much of the update a loss has.
            weight = getattr(objectives.weights, name)
            norms[name] = weight * float(torch.stack(squares).sum().sqrt()) if squares else 0.0
    # Over the largest: the balance between losses matters here, not their size.
    largest = max(norms.values(), default=0.0)
    return {f"gradient_{name}": norm / largest if largest else 0.0 for name, norm in norms.items()}
