"""Numbers of images and texts in prepared data sets (paper Table 10), from their manifests."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mamo.data.store.manifest import Manifest


def statistics(manifest: Manifest, split: str | None = "train") -> dict[str, Any]:
    """One data set's row: ``{dataset, images, texts}``.

    Args:
        manifest: of a prepared data set.
        split: the split counted; Table 10 counts what pre-training sees, i.e. ``train``. ``None`` counts all
            splits.

    Raises:
        KeyError: the data set has no such split.
    """
    counts = manifest["statistics"]["total"] if split is None else manifest["statistics"]["splits"][split]
    return {"dataset": manifest["dataset"], "images": counts["images"], "texts": counts["texts"]}


def table(manifests: Iterable[Path], split: str | None = "train") -> list[dict[str, Any]]:
    """Rows of Table 10 in the order of the manifest files, and their sum as ``total``."""
    rows = [statistics(json.loads(Path(path).read_text(encoding="utf-8")), split) for path in manifests]
    sums = {key: sum(row[key] for row in rows) for key in ("images", "texts")}
    return [*rows, {"dataset": "total", **sums}]
