"""A small ViT trained to name the world's objects: the stand-in for ImageNet training where no weights are available.

Every patch names the kind and tint of the object that covers most of it, and the class token which kinds the image shows. That
is stronger supervision than ImageNet's labels, as every page of the embedded world says.

Shapes: B windows, S side of the input in pixels, N patches, K objects of a scene.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.data.batches.collate import Batch
from mamo.data.batches.sampler import batch_indices
from mamo.data.batches.transforms import StandardiseChannels
from mamo.model.vision import VisionEncoder
from mamo.specs.model import ModelSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.task import Task

LEAST_WINDOW = 0.6  # the smallest window, as a share of the image's side: objects are met at several sizes
LEAST_COVER = 0.2  # share of a patch that an object covers, to be named there
NOTHING = 0


class LabelledScene(NamedTuple):
    """One picture of the world and what stands in it."""

    path: Path
    boxes: np.ndarray
    """(K, 4) x0, y0, x1, y1 in pixels."""
    kinds: np.ndarray
    """(K,) labels from 1."""
    tints: np.ndarray
    """(K,) labels from 1."""


class Scenes(NamedTuple):
    """All scenes, and how many kinds and tints there are."""

    scenes: list[LabelledScene]
    kinds: int
    tints: int


def read_scenes(release: Path) -> Scenes:
    """Read the world's scene graphs of training images; those in tar files are left out.

    Raises:
        FileNotFoundError: the release holds no scene graphs.
    """
    path = release / "world" / "scenes.jsonl"
    # Split at line feeds alone: str.splitlines would also split at separators inside of texts.
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    kinds = {
        name: i for i, name in enumerate(sorted({o["kind"] for line in lines for o in line["objects"]}), 1)
    }
    tints = {
        name: i for i, name in enumerate(sorted({o["tint"] for line in lines for o in line["objects"]}), 1)
    }
    scenes = [
        LabelledScene(
            release / line["file"],
            _corners(line["objects"]),
            np.array([kinds[o["kind"]] for o in line["objects"]]),
            np.array([tints[o["tint"]] for o in line["objects"]]),
        )
        for line in lines
        if line["split"] == "train" and line["file"].endswith(".jpg")
    ]
    return Scenes(scenes, len(kinds), len(tints))


def _corners(objects: list[dict[str, Any]]) -> np.ndarray:
    """Turn the objects' boxes (x, y, width, height in the file) into corners: (K, 4)."""
    boxes = np.array([o["box"] for o in objects], dtype=np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


class NamingTask(Task):
    """The image encoder with linear classifiers on its patches and its class token."""

    def __init__(self, spec: ModelSpec, kinds: int, tints: int) -> None:
        super().__init__()
        self.vision = VisionEncoder(spec)
        # One label more than there are kinds: 0 stands for the ground.
        self.kind_head = nn.Linear(spec.width, kinds + 1)
        self.tint_head = nn.Linear(spec.width, tints + 1)
        self.present_head = nn.Linear(spec.width, kinds + 1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Compute the losses of a batch of image (B, 3, S, S), kinds and tints (B, N) and present (B, kinds + 1)."""
        features = self.vision(batch["image"])
        kinds, tints = (
            self.kind_head(features[:, 1:]).flatten(0, 1),
            self.tint_head(features[:, 1:]).flatten(0, 1),
        )
        kind_loss = F.cross_entropy(kinds.float(), batch["kinds"].flatten())
        tint_loss = F.cross_entropy(tints.float(), batch["tints"].flatten())
        present_loss = F.binary_cross_entropy_with_logits(
            self.present_head(features[:, 0]).float(), batch["present"]
        )
        # Most patches show the ground alone: accuracy over them would say little.
        something = batch["kinds"].flatten() != NOTHING
        right = (kinds.argmax(-1) == batch["kinds"].flatten())[something].float().mean()
        tint_right = (tints.argmax(-1) == batch["tints"].flatten())[something].float().mean()
        loss = kind_loss + tint_loss + present_loss
        return {"loss": loss, "kind": kind_loss, "tint": tint_loss, "present": present_loss,
                "kind_accuracy": right, "tint_accuracy": tint_right}  # fmt: skip


def naming_batches(
    scenes: Scenes,
    spec: ModelSpec,
    transform: TransformSpec,
    batch_size: int,
    seed: int,
    start: int,
    total: int,
    image_sizes: Sequence[int] = (),
) -> Iterator[Batch]:
    """Yield batches of random square windows and their labels for the steps from ``start``.

    Args:
        image_sizes: sides of the input, taken in turn from step to step; none: the model's own.
    """
    sizes = image_sizes or (spec.image_size,)
    pictures: dict[int, Image.Image] = {}
    for step in range(start, total):
        rng = np.random.default_rng((seed, step))
        size = sizes[step % len(sizes)]  # a batch has one size
        rows = []
        for index in batch_indices(seed, step, batch_size, len(scenes.scenes)):
            scene = scenes.scenes[index]
            # The world's pictures are small and few: each is decoded once.
            if index not in pictures:
                with Image.open(scene.path) as opened:
                    pictures[index] = opened.convert("RGB")
            rows.append(
                _cut_window(pictures[index], scene, size, spec.patch_size, transform, scenes.kinds, rng)
            )
        image, kinds, tints, present = (torch.stack(column) for column in zip(*rows, strict=True))
        yield {"image": image, "kinds": kinds, "tints": tints, "present": present, "seed": seed, "step": step}


def _cut_window(
    picture: Image.Image,
    scene: LabelledScene,
    size: int,
    patch_size: int,
    transform: TransformSpec,
    kinds: int,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cut a random window, resized to ``size`` x ``size``, with the labels of the object that covers most of each patch."""
    side = min(picture.size)
    # Half of the windows are the whole picture, as the model mostly meets it.
    extent = side if rng.random() < 0.5 else side * rng.uniform(LEAST_WINDOW, 1.0)
    left, top = rng.uniform(0, picture.width - extent), rng.uniform(0, picture.height - extent)
    box = (left, top, left + extent, top + extent)
    pixels = picture.resize((size, size), Image.Resampling.BILINEAR, box=box)
    image = StandardiseChannels(transform)(pixels)
    grid = size // patch_size
    patch = extent / grid
    starts = np.arange(grid) * patch
    kind_labels, tint_labels = np.zeros(grid * grid, dtype=np.int64), np.zeros(grid * grid, dtype=np.int64)
    covered = np.full(grid * grid, LEAST_COVER * patch**2)
    for (x0, y0, x1, y1), kind, tint in zip(scene.boxes, scene.kinds, scene.tints, strict=True):
        width = np.minimum(x1, left + starts + patch) - np.maximum(x0, left + starts)
        height = np.minimum(y1, top + starts + patch) - np.maximum(y0, top + starts)
        area = (height.clip(min=0)[:, None] * width.clip(min=0)).ravel()
        most = area > covered  # than by any object before
        kind_labels[most], tint_labels[most], covered[most] = kind, tint, area[most]
    # Entry 0 stands for the ground, which nearly every window shows.
    present = torch.zeros(kinds + 1)
    present[torch.from_numpy(kind_labels)] = 1.0
    return image, torch.from_numpy(kind_labels), torch.from_numpy(tint_labels), present
