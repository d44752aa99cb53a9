"""Weights runs that distil an image encoder: the teacher sees every view of every photo once, then the encoder learns."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mamo.data.batches.photo_views import Photos, TeacherMaps
from mamo.data.batches.transforms import StandardiseChannels
from mamo.files.writing import atomic_write
from mamo.model.teacher import Teacher
from mamo.specs.transforms import TransformSpec
from mamo.training.loop import pick_device

AT_ONCE = 16  # photos in the teacher: more do not fit a processor's cache, and fewer leave it idle


def teacher_maps(teacher: Teacher, photos: Photos, folder: Path) -> TeacherMaps:
    """Compute the teacher's map of every view, or read it from ``folder`` where an earlier call has left it.

    A view of 6,000 photos takes 190 MB (7 x 7 places of 320 channels in half precision).
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for view in range(photos.views):
        path = TeacherMaps.path(folder, view)
        if not path.is_file():
            began = time.monotonic()
            with atomic_write(path) as part:
                _write_maps(teacher, photos, view, part)
            seconds = time.monotonic() - began
            print(
                f"teacher: view {view + 1} of {photos.views} of {len(photos)} photos in {seconds:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        files.append(np.load(path, mmap_mode="r"))
    return TeacherMaps(files)


def _write_maps(teacher: Teacher, photos: Photos, view: int, path: Path) -> None:
    """Write the maps of one view."""
    size = photos.spec.image_size
    normalise = StandardiseChannels(TransformSpec(size=size, mean=teacher.mean, std=teacher.std))
    resampling = Image.Resampling[teacher.interpolation.upper()]
    device, out = pick_device(), None
    teacher.to(device)
    for first in range(0, len(photos), AT_ONCE):
        pixels = []
        for index in range(first, min(first + AT_ONCE, len(photos))):
            picture = photos.open(index)
            box = photos.box(index, view, picture.size)
            pixels.append(normalise(picture.resize((size, size), resampling, box=box)))
        maps = teacher.map(torch.stack(pixels).to(device)).half().cpu().numpy()
        if out is None:
            shape = (len(photos), *maps.shape[1:])
            out = np.lib.format.open_memmap(path, "w+", np.float16, shape)
        out[first : first + len(maps)] = maps
    if out is not None:
        out.flush()
