"""Prepare a large release in parts: many jobs bring its images into the stored form, one job puts the parts together.

A part's file holds its examples with their images and their places in the release. Merged by place, the parts give the same
sequence as a preparation in one piece, so the prepared data set is the same, byte for byte. A part whose JSON
file exists is done; an interrupted preparation goes on with the others. Neither step holds more than a few images in memory.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pyarrow as pa

from mamo.data.examples import LISTED, Example, Findings, ImageSource
from mamo.data.store.images import ImageError, StoredImage
from mamo.data.store.manifest import Manifest, PartAccount, PartImage, PartRow
from mamo.data.store.prepare import ImageResult, assemble, dataset_named, load_images
from mamo.data.store.shares import read_share
from mamo.data.store.writer import ArrowFile, PreparedError
from mamo.files.stored import StoredError, read_object
from mamo.files.writing import write_json

FOLDER = "parts"
_IMAGE = pa.struct(
    [
        ("key", pa.string()),
        ("jpeg", pa.binary()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("error", pa.string()),
        ("absent", pa.bool_()),
    ]
)
_EXAMPLES = pa.schema(
    [
        ("place", pa.int64()),
        ("split", pa.string()),
        ("records", pa.string()),
        ("images", pa.list_(_IMAGE)),
    ]
)
_ROWS = 100


def part_name(part: int, parts: int) -> str:
    """Return the stem of a part's files, parts counted from 0: ``00003-of-00016``."""
    return f"{part:05d}-of-{parts:05d}"


def write_part(
    dataset: str, root: Path, out: Path, part: int, parts: int, *, store_size: int, workers: int = 1
) -> PartAccount:
    """Prepare one part of a release; do nothing if it is there already.

    Args:
        out: directory of the prepared data set; the part is written into its folder ``parts``.
        part: counted from 0.
        store_size, workers: as in :func:`mamo.data.store.prepare.prepare`.

    Returns:
        The part's account: counts, findings, size and checksum of its file.

    Raises:
        ValueError: no such part, or no such data set.
        FormatError: the release is not in its official layout.
    """
    info = dataset_named(dataset)
    if not 0 <= part < parts:
        raise ValueError(f"{dataset}: part {part + 1} of {parts} does not exist")
    folder = out / FOLDER
    account = folder / f"{part_name(part, parts)}.json"
    if account.is_file():
        return _part_account(dataset, folder, part, parts, store_size)
    findings, places = Findings(), list[int]()
    file = ArrowFile(folder / f"{part_name(part, parts)}.arrow", _EXAMPLES, _ROWS)

    def examples() -> Iterator[Example]:
        for place, example in read_share(dataset, info, root, folder, part, parts, findings):
            places.append(place)
            yield example

    images = 0
    seen: set[str] = set()
    try:
        for number, (example, outcomes) in enumerate(load_images(examples(), root, store_size, workers)):
            stored = []
            for source, outcome in zip(example.images, outcomes, strict=True):
                again = info.shares_images and source.key in seen
                stored.append(_encode_image(source, None if again else outcome))
                images += not again
                if info.shares_images:
                    seen.add(source.key)
            records = json.dumps([dict(record) for record in example.records])
            row = {"place": places[number], "split": example.split, "records": records, "images": stored}
            file.add(row, sum(len(image["jpeg"] or b"") for image in stored))
        entry = file.finish(folder)
    except BaseException:
        file.abandon()
        raise
    made: PartAccount = {
        "dataset": dataset,
        "store_size": store_size,
        "examples": file.rows,
        "images": images,
        "counts": findings.counts,
        "named": findings.named,
        "tallies": findings.tallies,
        "file": entry,
    }
    write_json(account, made)
    return made


def join_parts(
    dataset: str,
    root: Path,
    out: Path,
    parts: int,
    *,
    store_size: int,
    missing_limit: float | None = 0.001,
    interleave: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Manifest:
    """Put all parts together into the prepared data set, and remove them.

    Returns:
        The manifest, equal to that of a preparation in one piece.

    Raises:
        PreparedError: a part is missing, cut off, or of other settings.
        MissingImages: too many images are missing; the parts stay.
    """
    accounts = [_part_account(dataset, out / FOLDER, part, parts, store_size) for part in range(parts)]
    findings = Findings()
    for made in accounts:
        for reason, count in made["counts"].items():
            findings.counts[reason] = findings.counts.get(reason, 0) + count
        for reason, names in made["named"].items():
            findings.named[reason] = (findings.named.get(reason, []) + names)[:LISTED]
        findings.tallies |= made.get("tallies", {})
    files = [_verified_part(made, out / FOLDER) for made in accounts]
    merged = heapq.merge(*map(_part_rows, files), key=lambda row: row["place"])
    manifest = assemble(
        dataset,
        root,
        out,
        map(_unpacked, merged),
        findings,
        store_size=store_size,
        missing_limit=missing_limit,
        interleave=interleave,
        progress=progress,
    )
    shutil.rmtree(out / FOLDER)
    return manifest


def _part_account(dataset: str, folder: Path, part: int, parts: int, store_size: int) -> PartAccount:
    path = folder / f"{part_name(part, parts)}.json"
    if not path.is_file():
        raise PreparedError(f"{path}: part {part + 1} of {parts} is not prepared; prepare it first")
    file = folder / f"{part_name(part, parts)}.arrow"
    fix = "remove both and prepare it again"
    try:
        account = read_object(path, fix)
    except StoredError as error:
        raise PreparedError(str(error)) from error
    counts, named, entry = account.get("counts"), account.get("named"), account.get("file")
    sound = isinstance(counts, dict) and all(type(count) is int for count in counts.values())
    sound = sound and isinstance(named, dict) and all(isinstance(names, list) for names in named.values())
    sound = sound and isinstance(account.get("tallies", {}), dict)
    sound = sound and type(account.get("images")) is int and type(account.get("examples")) is int
    if not sound or not isinstance(entry, dict):
        raise PreparedError(f"{path}: is not an account of a part such as {file}; {fix}")
    whole = file.is_file() and entry.get("file") == file.name and file.stat().st_size == entry.get("bytes")
    whole = whole and entry.get("rows") == account["examples"]
    if not whole or (account.get("dataset"), account.get("store_size")) != (dataset, store_size):
        raise PreparedError(f"{file}: is not the part that {path} describes; {fix}")
    return cast(PartAccount, account)


def _verified_part(account: PartAccount, folder: Path) -> Path:
    """Return a part's file after comparing its checksum."""
    file = folder / account["file"]["file"]
    with file.open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != account["file"].get("sha256"):
            account_file = file.with_suffix(".json")
            raise PreparedError(f"{file} is damaged; remove it and {account_file.name}, and prepare it again")
    return file


def _encode_image(source: ImageSource, outcome: ImageResult | None) -> PartImage:
    """Encode an image for a part's file; ``None``: an earlier example of the part has it."""
    empty: PartImage = {
        "key": source.key,
        "jpeg": None,
        "width": 0,
        "height": 0,
        "error": None,
        "absent": False,
    }
    if outcome is None:
        return empty
    if isinstance(outcome, ImageError):
        absent = isinstance(outcome.__cause__, FileNotFoundError)
        return {**empty, "error": str(outcome), "absent": absent}
    return {**empty, "jpeg": outcome.jpeg, "width": outcome.width, "height": outcome.height}


def _unpacked(row: PartRow) -> tuple[Example, list[ImageResult]]:
    outcomes: list[ImageResult] = []
    for image in row["images"]:
        if image["jpeg"] is not None:
            outcomes.append(StoredImage(image["jpeg"], image["width"], image["height"]))
            continue
        # An image of an earlier example has neither bytes nor an error; the writer knows it by its key.
        error = ImageError(image["error"] or "stands in an earlier example")
        error.__cause__ = FileNotFoundError() if image["absent"] else None
        outcomes.append(error)
    sources = tuple(ImageSource(image["key"], b"") for image in row["images"])
    return Example(row["split"], sources, tuple(json.loads(row["records"]))), outcomes


def _part_rows(path: Path) -> Iterator[PartRow]:
    """Yield a part's rows, one at a time from the memory-mapped file."""
    reader = pa.ipc.open_file(pa.memory_map(str(path), "r"))
    for number in range(reader.num_record_batches):
        batch = reader.get_batch(number)
        for row in range(batch.num_rows):
            fields = {name: batch.column(i)[row].as_py() for i, name in enumerate(batch.schema.names)}
            yield cast(PartRow, fields)
