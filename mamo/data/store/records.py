"""Reading a prepared data set: random access to memory-mapped images and records."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from mamo.data.store.manifest import Manifest, Row
from mamo.data.store.writer import MANIFEST, SCHEMAS, PreparedError
from mamo.files.stored import StoredError, read_object

# Bytes of a data set whose checksums are compared whenever it is opened, in about a second.
VERIFIED = 1 << 30
_FILE = re.compile(r"images/\d+\.arrow|records/\w+\.arrow")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class _ArrowRows:
    """The rows of one or several Arrow IPC files as one sequence.

    Files are opened at first use and left out when pickled, so that worker processes map them again.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)

    def __getstate__(self) -> dict[str, Any]:
        return {"paths": self.paths}

    @cached_property
    def batches(self) -> list[pa.RecordBatch]:
        batches = []
        for path in self.paths:
            try:
                reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
                batches += [reader.get_batch(i) for i in range(reader.num_record_batches)]
            except (OSError, pa.ArrowInvalid) as error:
                raise PreparedError(
                    f"{path}: cannot be read ({error}); remove its data set and prepare it again"
                ) from error
        return batches

    @cached_property
    def _ends(self) -> np.ndarray:
        return np.cumsum([batch.num_rows for batch in self.batches], dtype=np.int64)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def find(self, index: int) -> tuple[pa.RecordBatch, int]:
        """Find the batch that holds a row, and the row's place in it."""
        size = len(self)
        if not 0 <= index < size:
            raise IndexError(f"row {index} of {size} in {self.paths[0] if self.paths else 'no file'}")
        number = int(np.searchsorted(self._ends, index, side="right"))
        return self.batches[number], int(index - (self._ends[number - 1] if number else 0))


class ImageStore:
    """The image table of a prepared data set."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._rows = _ArrowRows(paths)

    def __len__(self) -> int:
        return len(self._rows)

    def jpeg(self, index: int) -> bytes:
        """Return the stored JPEG of a row."""
        batch, row = self._rows.find(index)
        return batch.column(1)[row].as_py()

    def key(self, index: int) -> str:
        """Return the image's key in its release."""
        batch, row = self._rows.find(index)
        return batch.column(0)[row].as_py()

    def size(self, index: int) -> tuple[int, int]:
        """Return the width and height of the *original* image in pixels."""
        batch, row = self._rows.find(index)
        return batch.column(2)[row].as_py(), batch.column(3)[row].as_py()


class Records:
    """The records of one split: ``len``, ``[i] -> dict`` and whole columns."""

    def __init__(self, path: Path) -> None:
        self._rows = _ArrowRows([path])

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        batch, row = self._rows.find(index)
        return {name: batch.column(i)[row].as_py() for i, name in enumerate(batch.schema.names)}

    def __iter__(self) -> Iterator[Row]:
        for batch in self._rows.batches:
            yield from batch.to_pylist()

    def value(self, index: int, name: str) -> Any:
        """Read one field of one record, without touching the others."""
        batch, row = self._rows.find(index)
        return batch.column(name)[row].as_py()

    def column(self, name: str) -> pa.ChunkedArray:
        """Return a whole column, still memory-mapped."""
        return pa.chunked_array(
            [batch.column(name) for batch in self._rows.batches], type=self.schema.field(name).type
        )

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        with pa.memory_map(str(self._rows.paths[0]), "r") as source:
            return pa.ipc.open_file(source).schema


def read_manifest(path: Path) -> Manifest:
    """Read the manifest of a prepared data set.

    Args:
        path: the data set's directory.

    Raises:
        PreparedError: there is none (never prepared, or interrupted), or it is damaged or contradicts itself.
    """
    file, fix = path / MANIFEST, f"remove {path} and prepare it again"
    try:
        manifest = cast(Manifest, read_object(file, fix))
        _check_manifest(manifest)
    except FileNotFoundError as error:
        state = "was not prepared to the end" if path.is_dir() else "does not exist"
        raise PreparedError(f"{path}: prepared data set {state} (no {MANIFEST}); prepare it") from error
    except StoredError as error:
        raise PreparedError(str(error)) from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise PreparedError(f"{file}: is not a manifest of a prepared data set ({reason}); {fix}") from error
    return manifest


def _check_manifest(manifest: Manifest) -> None:
    """Check that the manifest is complete and its counts agree."""
    rows: dict[str, int] = {}
    for entry in manifest["files"]:
        name = entry["file"]
        if not _FILE.fullmatch(name) or name in rows:
            raise ValueError(f"'{name}' is not a file of it, or is listed twice")
        if not all(type(entry[key]) is int and entry[key] >= 0 for key in ("rows", "bytes")):
            raise ValueError(f"'{name}' has no size")
        if not _DIGEST.fullmatch(entry["sha256"]):
            raise ValueError(f"'{name}' has no checksum")
        rows[name] = entry["rows"]
    images = sum(count for name, count in rows.items() if name.startswith("images/"))
    if images != manifest["images"]:
        raise ValueError(f"its files hold {images} images, it counts {manifest['images']!r}")
    if manifest["kind"] not in SCHEMAS or not isinstance(manifest["dataset"], str):
        raise ValueError(f"no kind {manifest['kind']!r} of data set {manifest['dataset']!r}")
    for split, counts in manifest["splits"].items():
        if counts["records"] != rows[f"records/{split}.arrow"]:
            raise ValueError(f"split '{split}' has other records than its file")
        if type(counts["images"]) is not int or not 0 <= counts["images"] <= images:
            raise ValueError(f"split '{split}' has {counts['images']!r:.60} images of {images}")


class Prepared:
    """A prepared data set.

    Args:
        path: its directory.

    Raises:
        PreparedError: there is no manifest (never prepared, or interrupted), or a file is absent, of another size or, in data
            sets of up to ``VERIFIED`` bytes, of another checksum.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.manifest: Manifest = read_manifest(self.path)
        for entry in self.manifest["files"]:
            file = self.path / entry["file"]
            size = file.stat().st_size if file.is_file() else None
            if size != entry["bytes"]:
                problem = (
                    "is missing"
                    if size is None
                    else f"has {size} bytes, and {MANIFEST} says {entry['bytes']}"
                )
                raise PreparedError(f"{file} {problem}; remove {self.path} and prepare it again")
        if sum(entry["bytes"] for entry in self.manifest["files"]) <= VERIFIED:
            self.verify()
        names = [entry["file"] for entry in self.manifest["files"]]
        self.images = ImageStore([self.path / name for name in names if name.startswith("images/")])
        self._records: dict[str, Records] = {}

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.manifest["dataset"]

    @property
    def kind(self) -> str:
        """The kind of its records, which decides their columns."""
        return self.manifest["kind"]

    def records(self, split: str) -> Records:
        """Return the records of a split.

        Raises:
            PreparedError: no such split.
        """
        if split not in self.manifest["splits"]:
            raise PreparedError(
                f"{self.path}: no split '{split}'; there are {', '.join(self.manifest['splits'])}"
            )
        if split not in self._records:
            self._records[split] = Records(self.path / f"records/{split}.arrow")
        return self._records[split]

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            PreparedError: a file differs.
        """
        for entry in self.manifest["files"]:
            with (self.path / entry["file"]).open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != entry["sha256"]:
                raise PreparedError(
                    f"{self.path / entry['file']} is damaged; remove {self.path} and prepare it again"
                )
