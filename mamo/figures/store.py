"""Maps on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.files.writing import write_text


def write_maps(values: Mapping[str, Any], path: Path) -> None:
    """Write the values from ``compute_figure`` as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n")


def read_maps(path: Path) -> dict[str, Any]:
    """Read values written by ``write_maps``."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values
