"""The prepared form of a data set: images and records in Arrow files, and a manifest that is written last.

One directory per data set::

    images/00000.arrow ...   key, image (JPEG), width, height (of the original)
    records/<split>.arrow    columns by kind, see SCHEMAS; ``image`` is a row of the image table
    manifest.json            counts, what was left out, sizes and checksums; a directory without it is not a
    data set
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast, get_args

import pyarrow as pa

from mamo.data.store.images import StoredImage, normalise
from mamo.data.store.manifest import FileEntry, Manifest, SplitCounts
from mamo.files.writing import write_json
from mamo.specs.releases import RecordKind

_BOX = pa.list_(pa.float32())
SCHEMAS: dict[str, pa.Schema] = {
    "captions": pa.schema([("image", pa.int32()), ("text", pa.string())]),
    "vqa": pa.schema(
        [
            ("image", pa.int32()),
            ("question_id", pa.int64()),
            ("question", pa.string()),
            ("answers", pa.list_(pa.string())),
            ("weights", pa.list_(pa.float32())),
            ("type", pa.string()),
            ("answer_type", pa.string()),
            ("annotators", pa.int32()),
            ("unanimous", pa.string()),
        ]
    ),
    "nlvr2": pa.schema(
        [
            ("image", pa.int32()),
            ("image2", pa.int32()),
            ("text", pa.string()),
            ("label", pa.int8()),
            ("identifier", pa.string()),
        ]
    ),
    "refs": pa.schema(
        [
            ("image", pa.int32()),
            ("text", pa.string()),
            ("ref_id", pa.int64()),
            ("box", _BOX),
            ("proposals", pa.list_(_BOX)),
        ]
    ),
}
# Columns that a record may leave out, with their default.
OPTIONAL: dict[str, Any] = {"answer_type": "", "annotators": 0, "unanimous": ""}
IMAGES = pa.schema(
    [("key", pa.string()), ("image", pa.binary()), ("width", pa.int32()), ("height", pa.int32())]
)
SHARD_BYTES = 256 << 20
SHARD_IMAGES = 10_000
_BATCH_BYTES = 32 << 20  # what the writer holds in memory before a batch goes to disk
_IMAGE_ROWS = 1_000
_RECORD_ROWS = 65_536
MANIFEST = "manifest.json"


class PreparedError(ValueError):
    """A prepared data set is missing, incomplete or damaged; the message says how to fix it."""


class ArrowFile:
    """An Arrow IPC file being written; its content is hashed on the way to disk."""

    def __init__(self, path: Path, schema: pa.Schema, rows: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.schema, self._limit = path, schema, rows
        self.rows = self.bytes = 0
        self._digest = hashlib.sha256()
        self._file = path.open("wb")
        self._writer = pa.ipc.new_file(pa.PythonFile(self, mode="w"), schema)
        self._columns: dict[str, list[Any]] = {name: [] for name in schema.names}
        self._pending = 0

    closed = False

    def write(self, data: Any) -> int:
        """Write the next bytes of the file; called by Arrow."""
        self._digest.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Flush the file; called by Arrow."""
        self._file.flush()

    def tell(self) -> int:
        """Return the position; called by Arrow."""
        return self._file.tell()

    def close(self) -> None:
        """Leave the file open for ``finish``, which closes it; called by Arrow."""

    def add(self, row: Mapping[str, Any], size: int = 0) -> None:
        """Add a row; ``size`` is about what it holds in memory, in bytes."""
        for name, values in self._columns.items():
            values.append(row[name])
        self.rows += 1
        self.bytes += size
        self._pending += size
        if len(self._columns[self.schema.names[0]]) >= self._limit or self._pending >= _BATCH_BYTES:
            self._write_batch()

    def _write_batch(self) -> None:
        arrays = [pa.array(self._columns[field.name], type=field.type) for field in self.schema]
        self._writer.write_batch(pa.record_batch(arrays, schema=self.schema))
        self._columns = {name: [] for name in self.schema.names}
        self._pending = 0

    def finish(self, root: Path) -> FileEntry:
        """Write the rest and close; the file's entry in the manifest."""
        if self._columns[self.schema.names[0]]:
            self._write_batch()
        self._writer.close()
        self._file.flush()
        os.fsync(self._file.fileno())  # before the manifest, which says that it is whole
        self._file.close()
        return {
            "file": self.path.relative_to(root).as_posix(),
            "rows": self.rows,
            "bytes": self.path.stat().st_size,
            "sha256": self._digest.hexdigest(),
        }

    def abandon(self) -> None:
        """Close a file that will not be finished."""
        self._file.close()


class Writer:
    """Writes one prepared data set; use as a context manager, or call ``close`` at the end.

    Args:
        path: directory of the data set; leftovers of an interrupted preparation in it are removed.
        dataset: name of the data set.
        kind: which columns its records have.
        store_size: largest shorter side of a stored image in pixels.

    Raises:
        PreparedError: the directory already holds a finished data set.
    """

    def __init__(
        self,
        path: Path,
        *,
        dataset: str,
        kind: RecordKind,
        store_size: int,
        shard_bytes: int = SHARD_BYTES,
        shard_images: int = SHARD_IMAGES,
    ) -> None:
        if kind not in get_args(RecordKind):
            raise ValueError(f"kind '{kind}': there are {', '.join(get_args(RecordKind))}")
        self.path, self.dataset, self.kind, self.store_size = Path(path), dataset, kind, store_size
        self._shard_bytes, self._shard_images = shard_bytes, shard_images
        if (self.path / MANIFEST).exists():
            raise PreparedError(
                f"{self.path} already holds a prepared data set; remove it to prepare it again"
            )
        for part in ("images", "records"):
            shutil.rmtree(self.path / part, ignore_errors=True)
        self.path.mkdir(parents=True, exist_ok=True)
        self.images = 0
        self._files: list[FileEntry] = []
        self._shards = 0
        self._shard: ArrowFile | None = None
        self._records: dict[str, ArrowFile] = {}
        self._manifest: Manifest | None = None
        self._used: dict[str, bytearray] = {}  # split -> one flag per image row, so that memory stays flat

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            for file in (self._shard, *self._records.values()):
                if file is not None:
                    file.abandon()

    def add_split(self, split: str) -> None:
        """Announce a split, so that it exists even if no record falls into it."""
        if split not in self._records:
            self._records[split] = ArrowFile(
                self.path / f"records/{split}.arrow", SCHEMAS[self.kind], _RECORD_ROWS
            )
            self._used[split] = bytearray()

    def add_image(self, key: str, source: bytes | Path | StoredImage) -> int:
        """Store an image and return its row.

        Raises:
            ImageError: it is missing, unreadable or refused.
        """
        image = source if isinstance(source, StoredImage) else normalise(source, self.store_size)
        if self._shard is not None and (
            self._shard.rows >= self._shard_images or self._shard.bytes + len(image.jpeg) > self._shard_bytes
        ):
            self._close_shard()
        if self._shard is None:
            self._shard = ArrowFile(self.path / f"images/{self._shards:05d}.arrow", IMAGES, _IMAGE_ROWS)
            self._shards += 1
        row = {"key": key, "image": image.jpeg, "width": image.width, "height": image.height}
        self._shard.add(row, len(image.jpeg))
        self.images += 1
        return self.images - 1

    def add_record(self, split: str, **fields: Any) -> None:
        """Add a record; its fields are the columns of the data set's kind.

        Raises:
            ValueError: a column is missing or unknown, or an image row does not exist.
        """
        names = SCHEMAS[self.kind].names
        fields = {name: value for name, value in OPTIONAL.items() if name in names} | fields
        if set(fields) != set(names):
            raise ValueError(
                f"{self.dataset} {split}: a record of kind {self.kind} has {names}, got {sorted(fields)}"
            )
        self.add_split(split)
        used = self._used[split]
        for name in ("image", "image2"):
            if name in fields:
                row = fields[name]
                if not 0 <= row < self.images:
                    raise ValueError(
                        f"{self.dataset} {split}: {name} {row} is not one of the {self.images} images"
                    )
                if row >= len(used):
                    used.extend(bytes(self.images - len(used)))
                used[row] = 1
        self._records[split].add(fields)

    def _close_shard(self) -> None:
        if self._shard is not None:
            self._files.append(self._shard.finish(self.path))
            self._shard = None

    def close(self, **extra: Any) -> Manifest:
        """Finish the files and write the manifest, last and atomically; a second call only returns it.

        Args:
            extra: further entries of the manifest, e.g. what was left out.

        Returns:
            The manifest.
        """
        if self._manifest is not None:
            return self._manifest
        self._close_shard()
        counts: dict[str, SplitCounts] = {}
        for split, file in self._records.items():
            self._files.append(file.finish(self.path))
            counts[split] = {"images": sum(self._used[split]), "records": file.rows}
        manifest: Manifest = {
            "dataset": self.dataset,
            "kind": self.kind,
            "store_size": self.store_size,
            "images": self.images,
            "splits": counts,
            "missing": [],
            "unreadable": [],
            **cast(Any, extra),
            "files": self._files,
        }
        write_json(self.path / MANIFEST, manifest)
        self._manifest = manifest
        return manifest
