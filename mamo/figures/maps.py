"""Compute a figure's maps from its models, as plain JSON values for drawings, pages and notebooks.

Shapes: S side of the input in pixels, L sub-words, g patches along a side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.data.world.truth import SceneTruth
from mamo.explain.attention_gradcam import AttentionGradCam
from mamo.explain.scores import answer_score, itm_score, mrm_score
from mamo.figures.examples import FigureExample, draw_patches, draw_word, jpeg_of, shown_image
from mamo.model.mamo import Mamo
from mamo.runs.load import load_finetuned, load_pretrained
from mamo.runs.run import Context, require
from mamo.specs.finetune import GroundingSpec, JobSpec
from mamo.specs.plan import FigurePlan, Plan
from mamo.tasks.boxes import box_iou, choose_box
from mamo.tasks.localisation import localise, word_map
from mamo.tasks.pretrain import PretrainTask
from mamo.tasks.projected import ProjectedNetwork
from mamo.tasks.task import DownstreamTask
from mamo.tasks.vqa import VqaTask

GUESSES = 3  # of MLM's head for a masked word


class Model:
    """A trained model of a figure, ready for single examples.

    Attributes:
        network: the network f.
        task: as pre-trained or as fine-tuned; None where only the network is there.
        spec: the job that it was fine-tuned for; None: as pre-trained.
    """

    def __init__(
        self,
        network: Mamo,
        task: PretrainTask | DownstreamTask | None,
        spec: JobSpec | None,
        tokenizer: Tokenizer,
        transform: EvalTransform,
    ) -> None:
        self.network, self.task, self.spec = network, task, spec
        self.tokenizer, self.transform = tokenizer, transform

    @classmethod
    def of_run(cls, context: Context) -> Model:
        """Return the model of a finished run."""
        if context.run.kind == "pretrain":
            pretraining, tokenizer = load_pretrained(context)
            transform = EvalTransform(pretraining.spec.transform)
            return cls(pretraining.network, pretraining, None, tokenizer, transform)
        task, _ = load_finetuned(context)
        return cls(task.network, task, task.spec, task.tokenizer, task.transform_eval)

    def words(self, text: str) -> list[tuple[str, list[int]]]:
        """Return the words of a text with the places of their sub-words."""
        return self.tokenizer.words(text, self.network.spec.max_words)

    def encode(self, data: Prepared | None, example: FigureExample) -> tuple[Tensor, Tensor, Tensor]:
        """Return the example's image (1, 3, S, S), ids and mask (1, L) on the network's device."""
        device = self.network.temperature.device
        image = self.transform(jpeg_of(data, example))[None]
        ids, mask = self.tokenizer.encode([example.text], self.network.spec.max_words)
        return image.to(device), ids.to(device), mask.to(device)


def compute_figure(
    plan: Plan,
    name: str,
    results: Path,
    images: Sequence[str | Path] = (),
    texts: Sequence[str] | str | None = (),
    weights: str | None = None,
) -> dict[str, Any]:
    """Compute everything that a figure shows.

    Args:
        results: the scale's results.
        images: files, or keys of the figure's data set, to show instead of the figure's own.
        texts: used instead of the records' texts: one for each image, or one for all.
        weights: a run of the scale, an exported folder, or the name of a model that ships with the package or is on a hub,
            in place of the figure's own models.

    Returns:
        ``figure``, ``scale``, ``method``, ``layer``, ``grid``, ``models`` (key, label, run, outcome) and ``examples``, each
        with ``image`` (key), ``picture`` (data URL), ``width``, ``height``, ``text``, ``words`` and ``models`` (key -> what
        this model shows).

    Raises:
        RunError: a model's run is not done; the message has the command that makes it.
        PreparedError: the figure's data set is not prepared.
        SpecError: an image is neither a file nor one of the data set, or a file has no text.
        LoadError: there are no such weights.
    """
    from mamo.figures.own import choose_examples_and_scenes, figure_models

    bound = plan.figures[name]
    figure = bound.figure
    if weights is None and not images and not texts:
        require(plan, bound.inputs, results, name)
    data, truth, examples = choose_examples_and_scenes(plan, bound, results, images, texts)
    shown: list[dict[str, Any]] = []
    for example in examples:
        url, width, height = shown_image(data, example, truth)
        shown.append(
            {
                "image": example.key,
                "picture": url,
                "width": width,
                "height": height,
                "text": example.text,
                "models": {},
            }
        )
    models, grid, layer = [], 0, bound.layer
    own = any(example.jpeg is not None for example in examples)
    for described, load, layer in figure_models(plan, bound, results, weights, own):
        models.append(described)
        if load is None:
            continue
        loaded = load()
        grid = loaded.network.vision.grid
        explain = _METHODS[figure.method](loaded, replace(bound, layer=layer), data, truth)
        for example, values in zip(examples, shown, strict=True):
            common, model_values = explain(example)
            values |= common
            values["models"][described["key"]] = model_values
    return {
        "figure": name, "scale": plan.scale.name, "method": figure.method, "title": figure.title,
        "caption": " ".join(figure.caption.split()), "layer": layer, "grid": grid, "models": models,
        "examples": shown,
    }  # fmt: skip


# What is the same for all models of an example (words, boxes, masks), and what one model shows.
Explained = tuple[dict[str, Any], dict[str, Any]]
Explain = Callable[[FigureExample], Explained]


def _word_maps(model: Model, bound: FigurePlan, data: Prepared | None, truth: SceneTruth | None) -> Explain:
    """Compute a map for each word, by ITM's score; if boxes are known, also how well each map fits."""
    network, size = model.network, model.network.spec.image_size
    cam = AttentionGradCam(network, bound.layer)

    def explain(example: FigureExample) -> Explained:
        image, ids, mask = model.encode(data, example)
        words = model.words(example.text)
        with torch.no_grad():
            visual, written = network.encode_image(image), network.encode_text(ids, mask)
            matched = network.itm_logits(network.fuse(visual, written, mask)).softmax(-1)[0, 1]
        maps = cam(visual, written, mask, itm_score(network)).words_on_patches[0].cpu()
        named, fits = [], []
        if truth is not None and example.jpeg is None and example.key in truth:
            for name in truth.named([word for word, _ in words], example.key):
                share, hit = localise(word_map(maps, words, name), name.box, size)
                named.append({"words": list(name.words), "what": name.what, "box": _round_map(name.box)})
                fits.append({"share": round(share, 4), "hit": hit})
        own = {
            "maps": [_round_map(maps[places].mean(0).flatten()) for _, places in words],
            "matched": round(float(matched), 4),
            "fits": fits,
        }
        return {"words": [word for word, _ in words], "named": named}, own

    return explain


def _masked_word_maps(
    model: Model, bound: FigurePlan, data: Prepared | None, truth: SceneTruth | None
) -> Explain:
    """Compute where the model looks to restore a masked word."""
    task, following = _with_mrm(model)
    network = model.network
    cam = AttentionGradCam(network, bound.layer)

    def explain(example: FigureExample) -> Explained:
        image, ids, mask = model.encode(data, example)
        words = model.words(example.text)
        chosen = draw_word([word for word, _ in words], bound.figure.seed, example.place)
        places = words[chosen][1]
        hidden = torch.zeros_like(ids, dtype=torch.bool)
        hidden[0, places] = True
        masked = ids.masked_fill(hidden, model.tokenizer.mask_id)
        with torch.no_grad():
            target = following.fused(following.vision(image), ids, mask)
            visual, written = network.encode_image(image), network.encode_text(masked, mask)
            fused = network.fuse(visual, written, mask)
        maps = cam(visual, written, mask, mrm_score(task, target, words_BL=hidden)).words_on_patches[0]
        own: dict[str, Any] = {"map": _round_map(maps[places].mean(0).flatten())}
        if task.mlm_head is not None:
            with torch.no_grad():
                shares = task.mlm_head(fused.text[0, places[:1]]).softmax(-1)[0]
            best = shares.topk(GUESSES)
            own["guesses"] = [
                [token, round(share, 3)]
                for token, share in zip(
                    model.tokenizer.tokens(best.indices), best.values.tolist(), strict=True
                )
            ]
        boxes = []
        if truth is not None and example.jpeg is None and example.key in truth:
            named = truth.named([word for word, _ in words], example.key)
            boxes = [_round_map(name.box) for name in named if chosen in name.words]
        return {"words": [word for word, _ in words], "masked": chosen, "boxes": boxes}, own

    return explain


def _masked_patch_maps(
    model: Model, bound: FigurePlan, data: Prepared | None, truth: SceneTruth | None
) -> Explain:
    """Compute which words the model reads to restore masked patches."""
    task, following = _with_mrm(model)
    network = model.network
    cam, grid = AttentionGradCam(network, bound.layer), model.network.vision.grid

    def explain(example: FigureExample) -> Explained:
        image, ids, mask = model.encode(data, example)
        words = model.words(example.text)
        known = truth is not None and example.jpeg is None and example.key in truth
        things = truth.objects(example.key) if truth is not None and known else []
        patches = draw_patches(grid, [thing["box"] for thing in things], bound.figure.seed, example.place)
        hidden = torch.zeros(1, grid * grid, dtype=torch.bool, device=image.device)
        hidden[0, patches] = True
        keep = (~hidden[0]).nonzero()[:, 0][None]
        with torch.no_grad():
            target = following.fused(following.vision(image), ids, mask)
            visual, written = network.encode_image(image, keep), network.encode_text(ids, mask)
        values = cam(visual, written, mask, mrm_score(task, target, patches_BN=hidden)).patches_on_words[0]
        on_tokens = values[patches].mean(0)
        own = {"values": _round_map(torch.stack([on_tokens[places].mean() for _, places in words]))}
        common = {"words": [word for word, _ in words], "patches": patches}
        return common | {"hidden": hidden_things(things, patches, grid)}, own

    return explain


def hidden_things(things: Sequence[Mapping[str, Any]], patches: Sequence[int], grid: int) -> list[str]:
    """Name the objects that masked patches hide by at least half, by tint and kind."""
    names = []
    for thing in things:
        x0, y0, x1, y1 = thing["box"]
        covered = 0.0
        for patch in patches:
            row, column = divmod(patch, grid)
            wide = min(x1, (column + 1) / grid) - max(x0, column / grid)
            high = min(y1, (row + 1) / grid) - max(y0, row / grid)
            covered += max(0.0, wide) * max(0.0, high)
        if 2 * covered >= (x1 - x0) * (y1 - y0):
            names.append(f"{thing['tint']} {thing['kind']}")
    return names


def _grounding_maps(
    model: Model, bound: FigurePlan, data: Prepared | None, truth: SceneTruth | None
) -> Explain:
    """Compute where an expression looks, and the proposal that its map chooses."""
    network, exponent, least = model.network, 0.5, 0.5
    if isinstance(model.spec, GroundingSpec):  # else a model of the user's choice, not fine-tuned for it
        exponent, least = model.spec.area_exponent, model.spec.iou
    cam = AttentionGradCam(network, bound.layer)

    def explain(example: FigureExample) -> Explained:
        heat = _mean_over_words(model, data, example, cam, lambda *_: itm_score(network))
        proposals = torch.tensor(example.record["proposals"]).reshape(1, -1, 4)
        present = torch.ones(proposals.shape[:2], dtype=torch.bool)
        chosen = -1
        if proposals.shape[1]:
            side = network.spec.image_size
            chosen = int(choose_box(heat[None], proposals, present, side, exponent)[0])
        box = proposals[0, chosen] if chosen >= 0 else None
        truth_box = example.record["box"]  # None for a user's photo
        iou = float(box_iou(box, torch.tensor(truth_box))) if box is not None and truth_box else 0.0
        own = {
            "map": _round_map(heat.flatten()),
            "box": _round_map(box) if box is not None else None,
            "iou": round(iou, 3),
            "right": None if truth_box is None else box is not None and iou >= least,
        }
        return {"words": [word for word, _ in model.words(example.text)], "box": example.record["box"]}, own

    return explain


def _answer_maps(model: Model, bound: FigurePlan, data: Prepared | None, truth: SceneTruth | None) -> Explain:
    """Compute where a question looks for the model's answer."""
    task, network = model.task, model.network
    assert isinstance(task, VqaTask), "an answers figure's job is VQA"
    cam = AttentionGradCam(network, bound.layer)

    def explain(example: FigureExample) -> Explained:
        image, ids, mask = model.encode(data, example)
        with torch.no_grad():
            chosen, scores = task.rank(task.context(network.encode_image(image), ids, mask))
        best = int(chosen[0, scores[0].argmax()])
        answer, length = task.candidate_ids[best : best + 1], task.candidate_mask[best : best + 1]
        heat = _mean_over_words(
            model, data, example, cam, lambda mask_BL: answer_score(task.decoder, answer, length, mask_BL)
        )
        given = example.record["answers"]
        weights = example.record["weights"]
        truths = [a for a, w in zip(given, weights, strict=True) if w == max(weights)] if given else []
        own = {
            "map": _round_map(heat.flatten()),
            "answer": task.answers[best],
            "probability": round(float(scores[0].max().exp()), 3),
            "right": task.answers[best] in given if given else None,
        }
        return {"words": [word for word, _ in model.words(example.text)], "answer": " / ".join(truths)}, own

    return explain


def _mean_over_words(
    model: Model,
    data: Prepared | None,
    example: FigureExample,
    cam: AttentionGradCam,
    score: Callable[[Tensor], Any],
) -> Tensor:
    """Return the mean map of a text's sub-words, special tokens left out: (g, g)."""
    image, ids, mask = model.encode(data, example)
    with torch.no_grad():
        visual, written = model.network.encode_image(image), model.network.encode_text(ids, mask)
    maps = cam(visual, written, mask, score(mask)).words_on_patches[0].cpu()
    return maps[~model.tokenizer.special_mask(ids)[0].cpu()].mean(0)


def _with_mrm(model: Model) -> tuple[PretrainTask, ProjectedNetwork]:
    """Return the task and its target network."""
    assert isinstance(model.task, PretrainTask), "FigureSpec refuses a job where the MRM loss is explained"
    assert model.task.target is not None, "a task with an MRM loss has a target"
    return model.task, model.task.target


_METHODS: dict[str, Callable[[Model, FigurePlan, Prepared | None, SceneTruth | None], Explain]] = {
    "words": _word_maps,
    "masked_words": _masked_word_maps,
    "masked_patches": _masked_patch_maps,
    "grounding": _grounding_maps,
    "answers": _answer_maps,
}


def _round_map(values: Tensor | Sequence[float]) -> list[float]:
    """Round to four digits: maps are for looking at."""
    plain = values.tolist() if isinstance(values, Tensor) else values
    return [float(f"{value:.4g}") for value in plain]
