"""Make batches of examples: one collate per kind of records, each a callable for ``TrainLoader``.

Shapes: B records, S side of the input in pixels, L sub-words.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from mamo.data.batches.transforms import TrainTransform
from mamo.data.store.concat import Item
from mamo.data.tokenizer import MAX_LENGTH, Tokenizer

SeededItem = tuple[Item, np.random.Generator]
Batch = dict[str, Any]


class CaptionCollate:
    """Captions and referring expressions.

    Batch: ``image`` float32 (B, 3, S, S), ``text`` list of B, ``image_id`` int64 (B,), ``ids`` and ``mask`` int64 (B, L).
    ``image_id`` is equal for equal images, so that ITM never uses the same image under another caption as a negative.
    """

    def __init__(self, transform: TrainTransform, tokenizer: Tokenizer, max_words: int = MAX_LENGTH) -> None:
        self.transform, self.tokenizer, self.max_words = transform, tokenizer, max_words

    def __call__(self, samples: Sequence[SeededItem]) -> Batch:
        texts = [item.record["text"] for item, _ in samples]
        images = [
            self.transform(item.jpegs[0], [text], rng)
            for (item, rng), text in zip(samples, texts, strict=True)
        ]
        ids, mask = self.tokenizer.encode(texts, self.max_words)
        image_id = torch.tensor([item.image_id for item, _ in samples], dtype=torch.int64)
        return {"image": torch.stack(images), "text": texts, "image_id": image_id, "ids": ids, "mask": mask}


class VqaCollate:
    """Questions and answers.

    Batch: ``image`` float32 (B, 3, S, S), ``ids`` and ``mask`` int64 (B, L) of the questions, ``answers`` B lists of distinct
    answers, ``weights`` B lists of their shares times the data set's weight.
    """

    def __init__(self, transform: TrainTransform, tokenizer: Tokenizer, max_words: int = MAX_LENGTH) -> None:
        self.transform, self.tokenizer, self.max_words = transform, tokenizer, max_words

    def __call__(self, samples: Sequence[SeededItem]) -> Batch:
        questions = [item.record["question"] for item, _ in samples]
        images = [
            self.transform(item.jpegs[0], [item.record["question"], *item.record["answers"]], rng)
            for item, rng in samples
        ]
        ids, mask = self.tokenizer.encode(questions, self.max_words)
        return {
            "image": torch.stack(images),
            "ids": ids,
            "mask": mask,
            "answers": [item.record["answers"] for item, _ in samples],
            "weights": [[weight * item.weight for weight in item.record["weights"]] for item, _ in samples],
        }


class Nlvr2Collate:
    """A sentence about two images.

    Batch: ``image`` and ``image2`` float32 (B, 3, S, S), ``ids`` and ``mask`` int64 (B, L), ``label`` int64 (B,), 1 for true.
    """

    def __init__(self, transform: TrainTransform, tokenizer: Tokenizer, max_words: int = MAX_LENGTH) -> None:
        self.transform, self.tokenizer, self.max_words = transform, tokenizer, max_words

    def __call__(self, samples: Sequence[SeededItem]) -> Batch:
        texts = [item.record["text"] for item, _ in samples]
        pairs = [
            [self.transform(jpeg, [text], rng) for jpeg in item.jpegs]
            for (item, rng), text in zip(samples, texts, strict=True)
        ]
        ids, mask = self.tokenizer.encode(texts, self.max_words)
        return {
            "image": torch.stack([left for left, _ in pairs]),
            "image2": torch.stack([right for _, right in pairs]),
            "ids": ids,
            "mask": mask,
            "label": torch.tensor([item.record["label"] for item, _ in samples], dtype=torch.int64),
        }


COLLATES = {"captions": CaptionCollate, "vqa": VqaCollate, "nlvr2": Nlvr2Collate}
