"""Measure what a query costs: re-ranking by ITM and ranking answers, the product's way and plain ways.

python -m benchmarks evaluation
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.batches import captions, vocabulary
from benchmarks.measure import Result, alternating, ratio
from benchmarks.plain_evaluation import rank_answers, rerank_anew, rerank_cached
from mamo.data.batches.transforms import EvalTransform
from mamo.model.mamo import Mamo
from mamo.specs.scale import Scale, read_scale
from mamo.tasks.evaluating import evaluating
from mamo.tasks.gallery import Gallery
from mamo.tasks.recall import shortlist
from mamo.tasks.retrieval import match
from mamo.tasks.vqa import VqaTask

ABLATIONS = Path(__file__).parents[1] / "ablations"
ROUNDS = 5
IMAGES, TEXTS = 64, 192
QUESTIONS, QUESTIONED = 128, 16  # questions, and images that they are about
ANSWERS, SHORTLIST = 120, 32


def rerank(
    network: Mamo, image: Tensor, ids: Tensor, mask: Tensor, texts_NK: Tensor, images_MK: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """The product's way, from pixels and ids to the scores of both directions: (N, K) and (M, K)."""
    visual, text = network.encode_image(image), network.encode_text(ids, mask)
    empty = torch.empty(0)
    gallery = Gallery(empty, empty, empty, visual, text, mask)
    count = len(ids)
    of_images = torch.arange(len(image))[:, None] * count + texts_NK
    of_texts = images_MK * count + torch.arange(count)[:, None]
    pairs, where = torch.cat([of_images.flatten(), of_texts.flatten()]).unique(return_inverse=True)
    scores = match(network, gallery, torch.stack([pairs // count, pairs % count]), size)[where]
    first, second = scores.split([texts_NK.numel(), images_MK.numel()])
    return first.view_as(texts_NK), second.view_as(images_MK)


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    result = Result("evaluation", "Evaluation at scale demo's sizes")
    scale = read_scale("demo", ABLATIONS)
    _retrieval(result, scale)
    _answers(result, scale)
    result.note(
        f"Medians of {ROUNDS} rounds in bf16, sides taking turns; low and high bound the middle half."
    )
    result.write()


def _table(result: Result, table: str, seconds: dict[str, list[float]], queries: int) -> None:
    for name, taken in seconds.items():
        times = ratio(taken, seconds["product"])
        result.row(
            table,
            way=name,
            **{
                "CPU ms a query": 1000 * statistics.median(taken) / queries,
                "times the product's": times.median,
            },
            low=times.low,
            high=times.high,
        )


def _retrieval(result: Result, scale: Scale) -> None:
    spec = scale.jobs["retrieval_coco"]
    tokenizer = vocabulary(captions(500), 600)
    torch.manual_seed(0)
    network = Mamo(scale.pretrain.model, tokenizer.vocab_size)
    network.resize(spec.transform.size)
    ids, mask = tokenizer.encode(captions(TEXTS), network.spec.max_words)
    image = torch.randn(IMAGES, 3, spec.transform.size, spec.transform.size)
    with evaluating(network, "bf16"):
        similarity = (
            network.project_image(network.encode_image(image))
            @ network.project_text(network.encode_text(ids, mask)).T
        )
        anything = torch.zeros(TEXTS), torch.zeros(IMAGES)
        size = getattr(spec, "shortlist")  # noqa: B009
        texts = shortlist(similarity, anything[1], anything[0], size).candidates
        pictures = shortlist(similarity.T, anything[0], anything[1], size).candidates
        given = (network, image, ids, mask, texts, pictures)
        sides: dict[str, Callable[[], Any]] = {
            "product": lambda: rerank(*given, spec.eval_batch_size),
            "encoded once, query by query": lambda: rerank_cached(*given),
            "encoded again for every query": lambda: rerank_anew(*given),
        }
        seconds = alternating(sides, ROUNDS)
    _table(result, "Re-ranking", seconds, IMAGES + TEXTS)


def _answers(result: Result, scale: Scale) -> None:
    spec = scale.jobs["vqa"].model_copy(update={"shortlist": SHORTLIST})
    answers = list(dict.fromkeys(" ".join(text.split()[1:3]) for text in captions(4000)))[:ANSWERS]
    tokenizer = vocabulary(captions(500), 600)
    torch.manual_seed(0)
    network = Mamo(scale.pretrain.model, tokenizer.vocab_size)
    network.resize(spec.transform.size)
    task = VqaTask(network, spec, tokenizer, EvalTransform(spec.transform), answers)  # type: ignore[arg-type]
    ids, mask = tokenizer.encode(captions(QUESTIONS), network.spec.max_words)
    image = torch.randn(QUESTIONED, 3, spec.transform.size, spec.transform.size)
    places = torch.arange(QUESTIONED).repeat_interleave(QUESTIONS // QUESTIONED)

    def product() -> Tensor:
        return task.rank(task.context(network.encode_image(image)[places], ids, mask))[1]

    with evaluating(task, "bf16"):
        seconds = alternating(
            {
                "product": product,
                "each answer by itself": lambda: rank_answers(task, image[places], ids, mask),
            },
            ROUNDS,
        )
    _table(result, "Ranking answers", seconds, QUESTIONS)
    result.note(
        f"Answers: {SHORTLIST} of {len(answers)} are ranked in full; {QUESTIONS // QUESTIONED} questions an image."
    )


if __name__ == "__main__":
    main()
