"""Numbers of images and texts in a prepared data set (paper Table 10), from its manifest."""

from __future__ import annotations

from typing import Any

from mamo.data.store.manifest import Manifest


def dataset_statistics(manifest: Manifest, split: str | None = "train") -> dict[str, Any]:
    """Return one data set's row: ``{dataset, images, texts}``.

    Args:
        manifest: of a prepared data set.
        split: the split to count; Table 10 counts what pre-training sees, i.e. ``train``. ``None`` counts all splits.

    Raises:
        KeyError: the data set has no such split.
    """
    splits = manifest["splits"]
    images = manifest["images"] if split is None else splits[split]["images"]
    texts = sum(counts["records"] for name, counts in splits.items() if split in (None, name))
    return {"dataset": manifest["dataset"], "images": images, "texts": texts}
