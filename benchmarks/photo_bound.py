"""Measure how far retrieval on Flickr8k gets without fusion: fixed image features, a linear map, and a small GRU over words.

With the teacher's pooled features this bounds what an encoder distilled from it may hope for; with a distilled encoder's, it
says how much of them came over.

    python -m benchmarks.photo_bound PREPARED [--weights RUN] [--split val|test]

PREPARED is the folder of the prepared data set (results/flickr8k/data/flickr8k-...), RUN the folder of starting weights
(results/flickr8k/weights/vision-...). Without --weights, the teacher itself is measured. Choose on val; test is for the report.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from mamo.data.batches.sampler import batch_indices
from mamo.data.batches.transforms import EvalTransform, StandardiseChannels
from mamo.data.store.records import Prepared
from mamo.model.pretrained import load_vit, read_state
from mamo.model.teacher import load_teacher
from mamo.model.vision import VisionEncoder
from mamo.specs.model import ModelSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.recall import recall_metrics

EPOCHS, BATCH, RATE = 3, 128, 2e-3
WORDS, HIDDEN, JOINT = 200, 256, 256
LEAST = 5  # captions that a word is in, to have a vector of its own
TEMPERATURE = 0.05
AT_ONCE = 16


class Captions(NamedTuple):
    """The images of a split and what is said of them."""

    rows: list[int]
    """Rows of the image table, in order of first appearance."""
    image: Tensor
    """(M,) index into ``rows`` of each caption."""
    words: list[list[str]]


def captions_of(data: Prepared, split: str) -> Captions:
    """A split's captions, cut into lower-case words."""
    records = data.records(split)
    rows = records.column("image").to_pylist()
    place = {row: index for index, row in enumerate(dict.fromkeys(rows))}
    words = [re.findall("[a-z]+", text.lower()) or ["none"] for text in records.column("text").to_pylist()]
    return Captions(list(place), torch.tensor([place[row] for row in rows]), words)


class Matcher(nn.Module):
    """Image features through a linear map, words through a GRU, both of unit length."""

    def __init__(self, features: int, vocabulary: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, WORDS)
        self.gru = nn.GRU(WORDS, HIDDEN, batch_first=True)
        self.text = nn.Linear(HIDDEN, JOINT)
        self.image = nn.Linear(features, JOINT)

    def texts(self, ids: Sequence[Tensor]) -> Tensor:
        """Lists of word numbers -> (B, JOINT)."""
        lengths = torch.tensor([len(one) for one in ids])
        packed = pack_padded_sequence(
            self.words(pad_sequence(list(ids), True)), lengths, batch_first=True, enforce_sorted=False
        )
        return F.normalize(self.text(self.gru(packed)[1][0]), dim=1)

    def images(self, features: Tensor) -> Tensor:
        """(B, F) -> (B, JOINT)."""
        return F.normalize(self.image(features), dim=1)


def measure(
    train: Captions, train_features: Tensor, test: Captions, test_features: Tensor, seed: int = 0
) -> dict[str, float]:
    """Train linear map and GRU by contrast on one split's pairs; R@1, 5 and 10 on another's.

    Args:
        train_features, test_features: (N, F), a row for each of the split's images.
    """
    torch.manual_seed(seed)
    counts = Counter(word for words in train.words for word in set(words))
    known = {word: n for n, word in enumerate((w for w in sorted(counts) if counts[w] >= LEAST), 1)}

    def ids(words: list[str]) -> Tensor:
        return torch.tensor([known.get(word, 0) for word in words])

    mean, deviation = train_features.mean(0), train_features.std(0) + 1e-6
    train_features, test_features = (
        (features - mean) / deviation for features in (train_features, test_features)
    )
    texts = [ids(words) for words in train.words]
    model = Matcher(train_features.shape[1], len(known) + 1)
    total = EPOCHS * len(texts) // BATCH
    optimiser = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total, pct_start=0.1)
    for step in range(total):
        chosen = torch.from_numpy(batch_indices(seed, step, BATCH, len(texts)).copy())
        image = train.image[chosen]
        scores = model.images(train_features[image]) @ model.texts([texts[i] for i in chosen]).T / TEMPERATURE
        same = image[:, None] == image  # other captions of the same photo are no negatives
        scores = scores.masked_fill(same & ~torch.eye(len(same), dtype=torch.bool), float("-inf"))
        target = torch.arange(len(same))
        loss = F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        parts = [
            model.texts([ids(w) for w in test.words[s : s + 500]]) for s in range(0, len(test.words), 500)
        ]
        similarity = model.images(test_features) @ torch.cat(parts).T
    right = similarity.gather(0, test.image[None])[0]
    image_ranks = (similarity > right).sum(0) + 1
    own = torch.arange(len(similarity))[:, None] == test.image
    best = similarity.masked_fill(~own, float("-inf")).max(1).values
    text_ranks = (similarity > best[:, None]).sum(1) + 1
    return recall_metrics(text_ranks, image_ranks, test.image.bincount().tolist())


def encode(data: Prepared, rows: Sequence[int], encoder: Callable[[list[Image.Image]], Tensor]) -> Tensor:
    """Features of images, (N, F)."""
    parts = []
    with torch.no_grad():
        for first in range(0, len(rows), AT_ONCE):
            pictures = [
                Image.open(io.BytesIO(data.images.jpeg(row))).convert("RGB")
                for row in rows[first : first + AT_ONCE]
            ]
            parts.append(encoder(pictures))
    return torch.cat(parts)


def teacher_encoder(architecture: str, name: str | None, size: int) -> Callable[[list[Image.Image]], Tensor]:
    """The teacher's pooled features."""
    teacher = load_teacher(architecture, name)
    normalise = StandardiseChannels(TransformSpec(size=size, mean=teacher.mean, std=teacher.std))

    def encoder(pictures: list[Image.Image]) -> Tensor:
        sized = [picture.resize((size, size), Image.Resampling.BICUBIC) for picture in pictures]
        return teacher.pooled(teacher.map(torch.stack([normalise(picture) for picture in sized])))

    return encoder


def student_encoder(run: Path) -> Callable[[list[Image.Image]], Tensor]:
    """The class token beside the mean of the patches, of a run of starting weights."""
    spec = ModelSpec.model_validate(
        json.loads((run / "record.json").read_text(encoding="utf-8"))["spec"]["model"]
    )
    model = VisionEncoder(spec).eval()
    load_vit(model, read_state(run))
    transform = EvalTransform(TransformSpec(size=spec.image_size))

    def encoder(pictures: list[Image.Image]) -> Tensor:
        features = model(torch.stack([transform.image(picture) for picture in pictures]))
        return torch.cat([features[:, 0], features[:, 1:].mean(1)], 1)

    return encoder


def main() -> None:
    """Measure and print one line of JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photo_bound", description=__doc__.split("\n")[0]
    )
    parser.add_argument("prepared", type=Path, help="the folder of the prepared data set")
    parser.add_argument(
        "--weights", type=Path, help="a run of starting weights to measure instead of the teacher"
    )
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument(
        "--teacher", help="a file of the teacher's weights (default: the installed package's)"
    )
    parser.add_argument("--size", type=int, default=224, help="side of the teacher's input")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = Prepared(args.prepared)
    train, test = captions_of(data, "train"), captions_of(data, args.split)
    began = time.process_time()
    encoder = (
        student_encoder(args.weights)
        if args.weights
        else teacher_encoder(args.architecture, args.teacher, args.size)
    )
    features = [encode(data, split.rows, encoder) for split in (train, test)]
    encoded = time.process_time()
    metrics = measure(train, features[0], test, features[1], args.seed)
    seconds = {"encoding": round(encoded - began, 1), "training": round(time.process_time() - encoded, 1)}
    print(
        json.dumps(
            {
                "split": args.split,
                "metrics": {k: round(v, 2) for k, v in metrics.items()},
                "cpu_seconds": seconds,
            }
        )
    )


if __name__ == "__main__":
    main()
