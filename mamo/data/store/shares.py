"""Read a release once for all the jobs that prepare its parts.

Without it, each part would read the whole release to find its own examples. The job that comes first reads it and writes
every part's examples beside the parts, images by their place in the release; the others wait for it and read their own.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from filelock import FileLock

from mamo.data.datasets import Dataset
from mamo.data.examples import Example, Findings, ImageSource
from mamo.data.store.manifest import FileEntry, ShareAccount
from mamo.data.store.writer import PreparedError
from mamo.files.stored import StoredError, read_object
from mamo.files.writing import write_json

FOLDER = "shared"


def read_share(
    dataset: str, info: Dataset, root: Path, folder: Path, part: int, parts: int, findings: Findings
) -> Iterator[tuple[int, Example]]:
    """Yield one part's examples with their places; all parts' examples in the order of their places are the release's.

    Args:
        folder: folder of the parts; shares are in its folder ``shared``.
        part: counted from 0.
        findings: takes up what this part leaves out; what all parts leave out is noted by part 0 alone.

    Raises:
        FormatError: the release is not in its official layout.
        PreparedError: what an earlier job shared is damaged.
    """
    if info.tars:  # a part reads its own tars alone
        yield from info.read_tars(root, findings, part, parts)
        return
    shared = folder / FOLDER
    shared.mkdir(parents=True, exist_ok=True)
    account = shared / f"of-{parts:05d}.json"
    with FileLock(shared / f".lock-of-{parts:05d}"):
        if not account.is_file():
            _write_share(dataset, info, root, account, parts)
    stored = _read_account(account, dataset, parts)
    if part == 0:
        findings.counts, findings.named, findings.tallies = (
            stored["counts"],
            stored["named"],
            stored["tallies"],
        )
    yield from _examples(_verified_share(account, stored["files"][part]), root)


def _write_share(dataset: str, info: Dataset, root: Path, account: Path, parts: int) -> None:
    findings = Findings()
    paths = [account.with_name(f"{part:05d}-of-{parts:05d}.jsonl") for part in range(parts)]
    digests = [hashlib.sha256() for _ in paths]
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("wb")) for path in paths]
        for place, example in enumerate(info.read(root, findings)):
            # By the image, so that examples that share one fall into the same part.
            part = zlib.crc32(example.images[0].key.encode()) % parts
            line = json.dumps(_share_line(place, example, root)).encode() + b"\n"
            files[part].write(line)
            digests[part].update(line)
    entries = [
        {"file": path.name, "bytes": path.stat().st_size, "sha256": digest.hexdigest()}
        for path, digest in zip(paths, digests, strict=True)
    ]
    tallies = {"counts": findings.counts, "named": findings.named, "tallies": findings.tallies}
    write_json(account, {"dataset": dataset, "files": entries, **tallies})


def _share_line(place: int, example: Example, root: Path) -> list[Any]:
    images = []
    for source in example.images:
        if not isinstance(source.content, Path):
            raise TypeError(f"{source.key}: only images in files can be shared")
        images.append([source.key, source.content.relative_to(root).as_posix(), source.size])
    return [place, example.split, images, [dict(record) for record in example.records]]


def _examples(path: Path, root: Path) -> Iterator[tuple[int, Example]]:
    with path.open("rb") as file:
        for line in file:
            place, split, images, records = json.loads(line)
            sources = tuple(
                ImageSource(key, root / name, None if size is None else (size[0], size[1]))
                for key, name, size in images
            )
            yield place, Example(split, sources, tuple(records))


def _read_account(account: Path, dataset: str, parts: int) -> ShareAccount:
    fix = "remove it, and the release is read again"
    try:
        shared = read_object(account, fix)
    except StoredError as error:
        raise PreparedError(str(error)) from error
    files, tallies = shared.get("files"), (shared.get(name) for name in ("counts", "named", "tallies"))
    sound = shared.get("dataset") == dataset and all(isinstance(value, dict) for value in tallies)
    if not sound or not isinstance(files, list) or len(files) != parts:
        raise PreparedError(f"{account}: is not an account of the shares of {dataset}; {fix}")
    if not all(isinstance(entry, dict) and "file" in entry for entry in files):
        raise PreparedError(f"{account}: is not an account of the shares of {dataset}; {fix}")
    return cast(ShareAccount, shared)


def _verified_share(account: Path, entry: FileEntry) -> Path:
    """Return a share's file after comparing its checksum."""
    path = account.with_name(Path(str(entry["file"])).name)
    digest = None
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry.get("sha256"):
        raise PreparedError(
            f"{path}: is not the share that {account.name} describes; remove {account.name}, and the release is read again"
        )
    return path
