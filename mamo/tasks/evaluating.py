"""What evaluations share: a module's state, and encoding an image once for all records that show it."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mamo.specs.pretrain import Precision

Key = TypeVar("Key", bound=Hashable)


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


@contextmanager
def evaluating(module: nn.Module, precision: Precision) -> Iterator[None]:
    """Evaluation mode, no gradients, bf16 autocast if asked for; the module's mode is restored at the end."""
    training = module.training
    module.eval()
    try:
        autocast = torch.autocast(device_of(module).type, torch.bfloat16, enabled=precision == "bf16")
        with torch.inference_mode(), autocast:
            yield
    finally:
        module.train(training)


class ImageGroup(NamedTuple, Generic[Key]):
    """Some images (or pairs of images) and all records that show them."""

    images: list[Key]
    records: list[int]
    """Indices of records."""
    places: Tensor
    """Place in ``images`` of each record's image, int64."""


def by_image(images: Sequence[Key], size: int) -> Iterator[ImageGroup[Key]]:
    """ImageGroup records by what they show, ``size`` different images at a time, in the order of first appearance.

    Args:
        images: the image (or the pair of images) of every record.
        size: images of a group.
    """
    records: dict[Key, list[int]] = {}
    for record, image in enumerate(images):
        records.setdefault(image, []).append(record)
    distinct = list(records)
    for start in range(0, len(distinct), size):
        part = distinct[start : start + size]
        counts = torch.tensor([len(records[image]) for image in part])
        yield ImageGroup(
            part,
            [i for image in part for i in records[image]],
            torch.arange(len(part)).repeat_interleave(counts),
        )
