"""Which image each record of a data set shows: from the prepared data, or from a list that travels without it."""

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
        nothing where neither the prepared data nor a list of it is there.

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
        found = read_object(directory / FILE)
    except FileNotFoundError:
        return {}
    return {split: [int(image) for image in images] for split, images in found.items()}


def images_text(directory: Path) -> str | None:
    """The content of ``FILE`` for a data run; None where it has no records to list."""
    found = images_of(directory)
    return json.dumps(found, sort_keys=True, separators=(",", ":")) + "\n" if found else None
