"""Evaluation mode and precision, and records with the features of their images: shared by all evaluations.

Shapes: R records, P images of a record, V visual tokens, L sub-words, D width.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mamo.data.batches.loader import image_batches
from mamo.data.store.records import Prepared
from mamo.specs.pretrain import Precision
from mamo.tasks.task import DownstreamTask

Key = TypeVar("Key", bound=Hashable)


def device_of(module: nn.Module) -> torch.device:
    """Return the device of a module's parameters."""
    return next(module.parameters()).device


def autocast_of(module: nn.Module, precision: Precision) -> torch.autocast:
    """Return the context of a precision on a module's device."""
    return torch.autocast(device_of(module).type, torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; the module's mode is restored at the end."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@contextmanager
def evaluating(module: nn.Module, precision: Precision) -> Iterator[None]:
    """Switch to evaluation mode, without gradients, in bf16 autocast if asked for."""
    with evaluation_mode(module), torch.inference_mode(), autocast_of(module, precision):
        yield


class ImageGroup(NamedTuple, Generic[Key]):
    """Some images (or pairs of images) and all records that show them."""

    images: list[Key]
    records: list[int]
    """Indices of records."""
    places: Tensor
    """Place in ``images`` of each record's image, int64."""


def by_image(images: Sequence[Key], size: int) -> Iterator[ImageGroup[Key]]:
    """Group records by what they show, ``size`` different images at a time, in the order of first appearance.

    Args:
        images: the image (or the pair of images) of every record.
        size: images of a group.
    """
    records: dict[Key, list[int]] = {}
    for record, image in enumerate(images):
        records.setdefault(image, []).append(record)
    distinct = list(records)  # a dict keeps the order of first appearance
    for start in range(0, len(distinct), size):
        part = distinct[start : start + size]
        counts = torch.tensor([len(records[image]) for image in part])
        yield ImageGroup(
            part,
            [i for image in part for i in records[image]],
            torch.arange(len(part)).repeat_interleave(counts),
        )


class Encoded(NamedTuple):
    """Some records with what the network reads of them, on its device."""

    records: list[int]
    """R indices of records."""
    visual: Tensor
    """(R, P, V, D) features of their images."""
    ids: Tensor
    """(R, L) sub-words of their texts."""
    mask: Tensor
    """(R, L), 1 at sub-words, 0 at padding."""


def encoded_records(
    task: DownstreamTask, data: Prepared, images: Sequence[tuple[int, ...]], texts: Sequence[str]
) -> Iterator[Encoded]:
    """Go through records, at most ``eval_batch_size`` at once; an image is encoded once for all records that show it.

    Args:
        images: the stored images of every record, as many of each.
        texts: the text of every record.
    """
    network, size, device = task.network, task.spec.eval_batch_size, device_of(task)
    groups = list(by_image(images, size))
    # Decoded ahead in worker threads while the network is busy, in the order in which groups need them.
    rows = [row for group in groups for shown in group.images for row in shown]
    shown = len(images[0]) if images else 1
    threads = torch.get_num_threads()
    stored = image_batches(data.images, rows, task.transform_eval, shown * size, threads)
    for group, pixels in zip(groups, stored, strict=True):
        # Never a gradient to the pixels: Grad-CAM, whose callers keep gradients on, reads the fusion encoder alone.
        with torch.no_grad(), autocast_of(task, task.spec.precision):
            visual = network.encode_image(pixels.to(device)).unflatten(0, (-1, shown))
        for start in range(0, len(group.records), size):
            records = group.records[start : start + size]
            places = group.places[start : start + size].to(device)
            ids, mask = task.tokenizer.encode([texts[i] for i in records], network.spec.max_words)
            yield Encoded(records, visual[places], ids.to(device), mask.to(device))
