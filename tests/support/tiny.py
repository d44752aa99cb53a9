"""Small models, vocabularies and batches that the tests share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.model.mamo import Mamo
from mamo.specs.model import ModelSpec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.task import Task

TEXTS = [
    "a small red cat to the left of a blue bus",
    "two green apples and a dog on the grass",
    "there is a large yellow car above a tiny pink fish",
    "a dog",
    "three cats and one bus on the sand",
    "a purple key under an orange lamp",
    "the red fish is next to a green cat",
    "a lamp and a small car",
]


def model_spec(**changes: Any) -> ModelSpec:
    """A ViT of 4 x 4 patches, two text and two fusion layers, 32 wide."""
    values = {"image_size": 32, "patch_size": 8, "width": 32, "heads": 4, "vision_layers": 2, "text_layers": 2,
              "fusion_layers": 2, "dropout": 0.0, "projection_width": 16, "max_words": 16}  # fmt: skip
    return ModelSpec(**(values | changes))


# Settings of a downstream job beside its own.
JOB: dict[str, Any] = {
    "transform": TransformSpec(size=32),
    "optimiser": OptimiserSpec(),
    "schedule": ScheduleSpec(epochs=1),
    "batch_size": 4,
    "precision": "fp32",
}


def pretrain_spec(**changes: Any) -> PretrainSpec:
    """A pre-training spec around :func:`model_spec`, eight pairs a batch."""
    values: dict[str, Any] = {
        "model": model_spec(),
        "transform": TransformSpec(size=32),
        "batch_size": 8,
        "objectives": {"itm_group": 4},
        "precision": "fp32",
    }
    return PretrainSpec.model_validate(values | changes)


def tokenizer(folder: Path) -> Tokenizer:
    """A vocabulary trained on :data:`TEXTS`."""
    return train_wordpiece(TEXTS, 120, folder)


def network(words: Tokenizer, seed: int = 0, **changes: Any) -> Mamo:
    """A small network at random."""
    torch.manual_seed(seed)
    return Mamo(model_spec(**changes), words.vocab_size)


def batch(words: Tokenizer, step: int = 0, seed: int = 0) -> dict[str, Any]:
    """Eight pairs of noise images and texts."""
    ids, mask = words.encode(TEXTS, 16)
    image = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    batch = {"image": image, "ids": ids, "mask": mask, "image_id": torch.arange(8)}
    return batch | {"seed": seed, "step": step, "progress": step / 10}


def idle(task: torch.nn.Module) -> set[str]:
    """Trained parameters without a gradient, biases of keys left out: a softmax does not feel them."""
    return {
        name
        for name, p in task.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.any()) and not name.endswith("key.bias")
    }


# What a task whose network only encodes and fuses leaves alone.
UNREAD = ("vision_projection", "text_projection", "temperature", "itm_head", "fusion.mask_token", "key.bias")


def unmoved(task: torch.nn.Module) -> set[str]:
    """Parameters without a gradient, but for those that an encoding and fusing task leaves alone.

    A bias of all keys shifts all scores alike, so the softmax takes its gradient away.
    """
    return {
        name
        for name, p in task.named_parameters()
        if (p.grad is None or not p.grad.abs().sum() > 0) and not any(part in name for part in UNREAD)
    }


def declared(task: Task) -> set[str]:
    """The parameters of which a task says that none of its losses reads them."""
    parts = task.expectations().unread
    unread = {
        id(p)
        for part in parts
        for p in ([part] if isinstance(part, torch.nn.Parameter) else part.parameters())
    }
    return {name for name, p in task.named_parameters() if id(p) in unread}
