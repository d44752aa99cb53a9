"""Views of photos for a teacher and its student: crops that the teacher sees once, and windows of them in training.

Shapes: B windows, S side of the student's input in pixels, N places of a map, C channels, P visible patches.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from mamo.data.batches.sampler import batch_indices, example_generator
from mamo.data.batches.transforms import RelativeBox, StandardiseChannels, random_box
from mamo.data.store.records import ImageStore, Prepared
from mamo.specs.transforms import TransformSpec
from mamo.specs.weights import TeacherSpec

RATIO = (3 / 4, 4 / 3)  # width over height of a crop
WHOLE_SHARE = 0.3  # of the views that are met as they are, without a window
HIDING_SHARE = 0.5  # of the steps in which patches are hidden
FLIP_SHARE = 0.5


class Photos:
    """The photos of the train split of prepared data sets, each once.

    Args:
        data: prepared data sets; no other split of theirs is read.
        spec: which crops there are.
        seed: of the crops.
    """

    def __init__(self, data: Sequence[Prepared], spec: TeacherSpec, seed: int) -> None:
        self.spec, self.seed = spec, seed
        self.views = 1 + spec.crops
        self._places: list[tuple[ImageStore, int]] = []
        for dataset in data:
            rows = np.unique(dataset.records("train").column("image").to_numpy())
            self._places += [(dataset.images, int(row)) for row in rows]

    def __len__(self) -> int:
        return len(self._places)

    def open(self, index: int) -> Image.Image:
        """Open a photo in RGB."""
        store, row = self._places[index]
        with Image.open(io.BytesIO(store.jpeg(row))) as picture:
            return picture.convert("RGB")

    def sample(self, size: int, most: int = 200) -> Tensor:
        """Read whole photos, spread evenly over all, standardised as a model's input: (at most ``most``, 3, size, size)."""
        normalise = StandardiseChannels(TransformSpec(size=size))
        some = range(0, len(self), -(-len(self) // most))
        return torch.stack(
            [normalise(self.open(i).resize((size, size), Image.Resampling.BICUBIC)) for i in some]
        )

    def box(self, index: int, view: int, size: tuple[int, int]) -> RelativeBox:
        """Choose the part of a photo that a view shows, in pixels: view 0 is the whole photo, the others are random crops."""
        if view == 0:
            return 0.0, 0.0, float(size[0]), float(size[1])
        return random_box(size, self.spec.crop_scale, RATIO, example_generator(self.seed, view, index))


class TeacherMaps(NamedTuple):
    """The teacher's maps, one for each view of each photo."""

    files: list[np.ndarray]
    """For each view, (photos, N, C) in half precision, memory-mapped."""

    @staticmethod
    def path(folder: Path, view: int) -> Path:
        """Return the file of a view's maps."""
        return folder / f"teacher-{view}.npy"

    def sample(self, most: int = 2000) -> Tensor:
        """Read maps of whole photos, spread evenly over all: (at most ``most``, N, C)."""
        whole = self.files[0]
        return torch.from_numpy(whole[:: -(-len(whole) // most)].astype(np.float32))


def distillation_batches(
    photos: Photos,
    maps: TeacherMaps,
    size: int,
    patch_size: int,
    batch_size: int,
    start: int,
    total: int,
) -> Iterator[dict[str, Any]]:
    """Yield batches for the steps from ``start``: windows of views, flipped half of the time, with the teacher's map of each.

    Yields:
        image (B, 3, S, S), map (B, N, C) and, where patches are hidden, keep (B, P), the indices of the visible ones.
    """
    spec, normalise, grid = photos.spec, StandardiseChannels(TransformSpec(size=size)), size // patch_size
    for step in range(start, total):
        rng = np.random.default_rng((photos.seed, step))
        images, targets, windows = [], [], []
        for index in batch_indices(photos.seed, step, batch_size, len(photos)):
            view, picture = int(rng.integers(photos.views)), photos.open(int(index))
            window = _draw_window(spec.window, rng)
            x0, y0, x1, y1 = photos.box(int(index), view, picture.size)
            across, down = x1 - x0, y1 - y0
            box = (
                x0 + across * window[0],
                y0 + down * window[1],
                x0 + across * window[2],
                y0 + down * window[3],
            )
            images.append(normalise(picture.resize((size, size), Image.Resampling.BICUBIC, box=box)))
            targets.append(np.asarray(maps.files[view][index], dtype=np.float32))
            windows.append(window)
        image = torch.stack(images)
        target = resample_to_windows(torch.from_numpy(np.stack(targets)), torch.tensor(windows), grid)
        flipped = torch.from_numpy(rng.random(batch_size) < FLIP_SHARE)
        image = torch.where(flipped[:, None, None, None], image.flip(-1), image)
        target = torch.where(flipped[:, None, None], flip_map(target), target)
        batch = {"image": image, "map": target, "seed": photos.seed, "step": step}
        if rng.random() < HIDING_SHARE and spec.visible < 1:
            order = rng.random((batch_size, grid**2)).argsort(1)
            visible = max(1, round(spec.visible * grid**2))
            batch["keep"] = torch.from_numpy(np.sort(order[:, :visible], 1))
        yield batch


def _draw_window(least: float, rng: np.random.Generator) -> RelativeBox:
    """Draw a random square part of a view, as shares of its sides."""
    side = 1.0 if rng.random() < WHOLE_SHARE else float(rng.uniform(least, 1.0)) ** 0.5
    left, top = rng.uniform(0, 1 - side, 2)
    return float(left), float(top), float(left + side), float(top + side)


def resample_to_windows(map_BNC: Tensor, window_B4: Tensor, grid: int) -> Tensor:
    """Resample the map to what lies in windows of the image, with the same number of places: (B, N, C) -> (B, grid ** 2, C).

    Args:
        window_B4: left, top, right, bottom as shares of the image's sides.
    """
    side = round(map_BNC.shape[1] ** 0.5)
    centres = (torch.arange(grid) + 0.5) / grid
    left, top, right, bottom = window_B4[:, :, None].unbind(1)
    x, y = left + (right - left) * centres, top + (bottom - top) * centres
    places = torch.stack([x[:, None, :].expand(-1, grid, -1), y[:, :, None].expand(-1, -1, grid)], -1)
    image = map_BNC.transpose(1, 2).unflatten(2, (side, side))
    # Beyond the outermost centres the nearest vector stands: a map says nothing of what lies outside.
    seen = F.grid_sample(image, places * 2 - 1, padding_mode="border", align_corners=False)
    return seen.flatten(2).transpose(1, 2)


def flip_map(map_BNC: Tensor) -> Tensor:
    """Mirror a map left to right."""
    side = round(map_BNC.shape[1] ** 0.5)
    return map_BNC.unflatten(1, (side, side)).flip(2).flatten(1, 2)
