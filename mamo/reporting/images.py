"""Look up the image of each record of a data set: in the prepared data, or in a list that a pack holds."""

from __future__ import annotations

import json
from pathlib import Path

from mamo.data.store.records import Prepared, PreparedError
from mamo.files.stored import read_object

FILE = "images_of.json"


def images_of(directory: Path) -> dict[str, list[int]]:
    """Split -> the image of each of its records in their order, without the training split.

    Args:
        directory: of a data run.

    Returns:
        an empty mapping if neither the prepared data nor the list is there.

    Raises:
        StoredError: the list is damaged.
    """
    try:
        data = Prepared(directory)
        return {
            split: data.records(split).column("image").to_pylist()
            for split in data.manifest["splits"]
            if split != "train" and len(data.records(split))
        }
    except (PreparedError, KeyError):
        pass
    try:
        images_of_split = read_object(directory / FILE)
    except FileNotFoundError:
        return {}
    return {split: [int(image) for image in images] for split, images in images_of_split.items()}


def images_text(directory: Path) -> str | None:
    """Make the content of ``FILE`` for a data run; None if it has no records."""
    images = images_of(directory)
    return json.dumps(images, sort_keys=True, separators=(",", ":")) + "\n" if images else None
