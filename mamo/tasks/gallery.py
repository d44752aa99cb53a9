"""A split's images and texts, each encoded once.

Shapes: N images, M texts, V visual tokens, L sub-words, D width, E width of ITC's projections.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mamo.data.batches.loader import image_batches
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.tasks.evaluating import device_of


class Gallery(NamedTuple):
    """N images in the order of first appearance, M texts in the order of the records."""

    image_NE: Tensor
    """ITC projections of unit length."""
    text_ME: Tensor
    image_of_text: Tensor
    """(M,) index of each text's image."""
    visual: Tensor | None
    """(N, V, D) features, if they were to be kept."""
    text: Tensor | None
    """(M, L, D) features, zero behind a text's end."""
    mask: Tensor
    """(M, L)"""

    @property
    def similarity(self) -> Tensor:
        """The cosine of every image and every text: (N, M)."""
        # In full precision, so that near candidates do not tie.
        with torch.autocast(self.image_NE.device.type, enabled=False):
            return self.image_NE @ self.text_ME.T


def encode_gallery(
    network: Mamo,
    tokenizer: Tokenizer,
    transform: EvalTransform,
    data: Prepared,
    split: str,
    batch_size: int,
    keep_features: bool = True,
) -> Gallery:
    """Encode every image and every text of a split; mode, precision and gradients are the caller's.

    Raises:
        PreparedError: the split is empty.
    """
    records = data.records(split)
    if len(records) == 0:
        raise PreparedError(f"{data.path}, split '{split}': there are no texts; prepare it again")
    rows = records.column("image").to_pylist()
    # An image has several captions; it is encoded where it appears first.
    place = {row: index for index, row in enumerate(dict.fromkeys(rows))}
    device = device_of(network)
    image_NE, visual = _encode_images(network, transform, data, list(place), batch_size, keep_features)
    ids, mask = tokenizer.encode(records.column("text").to_pylist(), network.spec.max_words)
    text_ME, text = _encode_texts(network, ids.to(device), mask.to(device), batch_size, keep_features)
    image_of_text = torch.tensor([place[row] for row in rows], device=device)
    return Gallery(image_NE, text_ME, image_of_text, visual, text, mask.to(device))


def _encode_images(
    network: Mamo, transform: EvalTransform, data: Prepared, rows: list[int], batch_size: int, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the images' ITC projections, and their features if they are to be kept."""
    device = device_of(network)
    projections, features = [], []
    for images in image_batches(data.images, rows, transform, batch_size, torch.get_num_threads()):
        encoded = network.encode_image(images.to(device))
        with torch.autocast(device.type, enabled=False):
            projections.append(network.project_image(encoded.float()))
        # ITM fuses features; validation by ITC alone does without, and without their memory.
        if keep:
            features.append(encoded)
    return torch.cat(projections), torch.cat(features) if keep else None


def _encode_texts(
    network: Mamo, ids_ML: Tensor, mask_ML: Tensor, batch_size: int, keep: bool
) -> tuple[Tensor, Tensor | None]:
    """Compute the texts' ITC projections, and their features if they are to be kept."""
    # Texts of like length go together, so that hardly any padding is encoded.
    lengths = mask_ML.sum(1)
    projections: Tensor | None = None
    features: Tensor | None = None
    for part in lengths.argsort(stable=True).split(batch_size):
        longest = int(lengths[part].max())
        encoded = network.encode_text(ids_ML[part, :longest], mask_ML[part, :longest])
        with torch.autocast(encoded.device.type, enabled=False):
            projected = network.project_text(encoded.float())
        if projections is None:
            projections = projected.new_empty(len(ids_ML), projected.shape[1])
            features = encoded.new_zeros(*ids_ML.shape, encoded.shape[2]) if keep else None
        projections[part] = projected
        if features is not None:
            features[part, :longest] = encoded
    assert projections is not None
    return projections, features
