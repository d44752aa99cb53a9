"""Report training images that are also test images of an evaluation set; the paper trains on them too.

COCO, Visual Genome and Flickr30K were all collected from Flickr. A photo's number there stands in Flickr30K's file names, in
Visual Genome's ``image_data.json`` and in COCO's own annotations, so a photo that is in two sets is found exactly.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamo.data.examples import FormatError
from mamo.data.releases import refcoco
from mamo.data.releases.fields import Name, Whole, listing, lists
from mamo.data.releases.karpathy import coco_ids, listed

FILE = "overlap.json"
_PHOTO = re.compile(r"/(\d+)_[0-9a-f]+(?:_\w)?\.jpg$")
_COCO_ORIGIN = "it comes in COCO's annotations_trainval2014.zip, which may stay packed in coco/"


@dataclass(slots=True)
class CocoImage:
    """An image of COCO's own annotations."""

    id: Whole
    file_name: Name
    flickr_url: str | None = None


@dataclass(slots=True)
class GenomeImage:
    """An image of Visual Genome's ``image_data.json``."""

    image_id: Whole
    flickr_id: int | str | None = None


def overlap(dataset: str, root: Path) -> dict[str, Any]:
    """Evaluation set -> ``{"images": keys of training images that are in it}``, or ``{"unknown": why}`` without the files.

    Args:
        dataset: ``coco`` or ``visual_genome``; others have no images in common with evaluation sets that could be found.
        root: the folder of the releases.
    """
    checks: dict[str, dict[str, Callable[[Path], list[str]]]] = {
        "coco": {"flickr30k test": _coco_in_flickr30k, "refcoco_plus val, testA, testB": _coco_in_refcoco},
        "visual_genome": {"flickr30k test": _genome_in_flickr30k},
    }
    found: dict[str, Any] = {}
    for name, check in checks.get(dataset, {}).items():
        try:
            found[name] = {"images": check(root)}
        except FormatError as error:
            found[name] = {"unknown": str(error)}
    return found


def counts(found: dict[str, Any]) -> dict[str, int | None]:
    """Count the images shared with each evaluation set; None if unknown."""
    return {name: len(entry["images"]) if "images" in entry else None for name, entry in found.items()}


def _flickr30k_test(root: Path) -> set[str]:
    """The Flickr numbers of Flickr30K's test photos, which are their file names."""
    images = listed(root / "flickr30k/dataset_flickr30k.json")
    return {Path(image.filename).stem for image in images if image.split == "test"}


def _coco_in_flickr30k(root: Path) -> list[str]:
    test = _flickr30k_test(root)
    train = coco_ids(root / "coco/dataset_coco.json", ("train",))
    found = []
    for part in ("train2014", "val2014"):
        (images,) = lists(root / f"coco/annotations/captions_{part}.json", _COCO_ORIGIN, images=CocoImage)
        for image in images:
            photo = _PHOTO.search(image.flickr_url or "")
            if photo and photo[1] in test and image.id in train:
                found.append(image.file_name)
    return sorted(found)


def _coco_in_refcoco(root: Path) -> list[str]:
    train = coco_ids(root / "coco/dataset_coco.json", ("train",))
    return [f"COCO_train2014_{i:012d}.jpg" for i in sorted(train & refcoco.evaluation_images(root))]


def _genome_in_flickr30k(root: Path) -> list[str]:
    test = _flickr30k_test(root)
    path, fix = root / "visual_genome/image_data.json", "it comes from the Visual Genome page"
    return [str(image.image_id) for image in listing(path, GenomeImage, fix) if str(image.flickr_id) in test]
