"""Batches of noise in the shapes of a scale's, with captions as long as its own."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import torch

from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.specs.model import ModelSpec

COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "white", "black")
KINDS = ("cat", "dog", "bus", "car", "apple", "fish", "lamp", "key", "bird", "chair", "book", "star")
PLACES = ("to the left of", "to the right of", "above", "below", "next to")
FEWEST, MOST = 3, 18  # words of a caption


def captions(count: int, seed: int = 0) -> list[str]:
    """Captions of 3 to 18 words, 10 or 11 in the mean."""
    draws = random.Random(seed)
    texts = []
    for _ in range(count):
        words: list[str] = []
        length = draws.randint(FEWEST, MOST)
        while len(words) < length:
            words += f"a {draws.choice(COLOURS)} {draws.choice(KINDS)} {draws.choice(PLACES)}".split()
        texts.append(" ".join(words[:length]))
    return texts


def vocabulary(texts: list[str], size: int = 300) -> Tokenizer:
    """A vocabulary trained on the texts."""
    with tempfile.TemporaryDirectory() as folder:
        return train_wordpiece(texts, size, Path(folder))


def batch_of(model: ModelSpec, tokenizer: Tokenizer, size: int, step: int = 0) -> dict[str, Any]:
    """``size`` pairs, padded to the longest."""
    ids, mask = tokenizer.encode(captions(size, step), model.max_words)
    image = torch.randn(
        size, 3, model.image_size, model.image_size, generator=torch.Generator().manual_seed(step)
    )
    return {
        "image": image,
        "ids": ids,
        "mask": mask,
        "image_id": torch.arange(size),
        "seed": 0,
        "step": step,
        "progress": 0.0,
    }
