"""Check that the files of a packed run are what their names say, before any of them is written."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any, cast

from safetensors import SafetensorError, deserialize

from mamo.data.store.manifest import Manifest, dataset_statistics
from mamo.files.record import Record
from mamo.files.stored import checksum
from mamo.jobs.job import Items
from mamo.reporting.images import FILE as IMAGES
from mamo.reporting.items import ITEMS, contributions

WEIGHTS_FILES = (".safetensors", ".json", ".txt", ".csv")  # no format that could run code
_TOLERANCE = 1e-6  # tolerance between a recorded metric and the mean over its items
_COLUMNS = 200  # columns of a table of numbers


class ContentError(ValueError):
    """A file's content does not fit its name."""


def check_file(name: str, content: bytes, record: Record) -> None:
    """Check one file of a packed run.

    Args:
        name: ``items.arrow``, ``curve.csv`` or another file of a run's directory.
        record: the run's own; the results per item must reproduce its metrics.

    Raises:
        ContentError: it holds something else.
    """
    try:
        if "/" in name:
            raise ContentError("is not a file that a pack holds for a run")
        if name == ITEMS:
            _check_items(_items(content), record)
        elif name.endswith(".csv"):
            _check_numbers(content.decode("utf-8"))
        elif name == "manifest.json":
            dataset_statistics(cast(Manifest, _object(content)), None)
        elif name == IMAGES:
            for images in _object(content).values():
                if not isinstance(images, list) or any(type(image) is not int for image in images):
                    raise ContentError("lists something other than numbers of images")
        elif name.endswith(".json"):
            _object(content)
        else:
            raise ContentError("is not a file that a pack holds for a run")
    except ContentError as error:
        raise ContentError(f"{name}: {error}") from None
    except (ValueError, KeyError, TypeError, OSError, RecursionError, csv.Error) as error:
        raise ContentError(f"{name}: cannot be read ({str(error)[:200]})") from error


def check_weights_file(name: str, content: bytes, record: Record) -> None:
    """Check one file of packed starting weights.

    Args:
        name: ``model.safetensors``, ``tokenizer.json`` or another file that the run left.
        record: the run's own; it lists each file with its checksum.

    Raises:
        ContentError: it holds something else.
    """
    if name not in record.files:
        raise ContentError(f"{name}: is not a file that the record lists")
    actual = checksum(content)
    if actual != record.files[name]:
        raise ContentError(f"{name}: its checksum is {actual}, in the record {record.files[name][:80]}")
    if not name.endswith(WEIGHTS_FILES):
        raise ContentError(f"{name}: is not a file that starting weights have ({', '.join(WEIGHTS_FILES)})")
    try:
        if name.endswith(".safetensors"):
            deserialize(content)
        elif name.endswith(".json"):
            _object(content)
        else:
            content.decode("utf-8")
    except (ContentError, ValueError, RecursionError, SafetensorError) as error:
        raise ContentError(f"{name}: cannot be read ({str(error)[:200]})") from error


def _object(content: bytes) -> dict[str, Any]:
    value = json.loads(content)
    if not isinstance(value, dict):
        raise ContentError("is not a JSON object")
    return value


def _items(content: bytes) -> Items:
    import pyarrow as pa

    table = pa.ipc.open_file(pa.BufferReader(content)).read_all()
    table.validate(full=True)
    columns: Items = table.to_pydict()
    return columns


def _check_items(items: Items, record: Record) -> None:
    """Check that results per item give the recorded metrics."""
    for metric, value in record.metrics.items():
        contributed = contributions(record.spec["task"], metric, items, {}, record.metrics)
        if contributed is None or not math.isfinite(value):
            continue
        mean = float(contributed.values.mean())
        if not abs(mean - value) <= _TOLERANCE * max(1.0, abs(value)):
            raise ContentError(f"gives {mean:.4f} for '{metric}', and the record says {value:.4f}")


def _check_numbers(text: str) -> None:
    """Check a table of numbers under a line of names; a cell may be empty."""
    rows = csv.reader(io.StringIO(text))
    names = next(rows, [])
    if len(names) > _COLUMNS:
        raise ContentError(f"has more than {_COLUMNS} columns")
    for row in rows:
        if len(row) != len(names):
            raise ContentError(f"has a line of {len(row)} cells under {len(names)} names")
        for cell in row:
            float(cell or "nan")
