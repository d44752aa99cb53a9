"""Read the files that runs leave for one another; a damaged file is reported by name and never used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mamo.files.record import STATUSES, Record

RECORD = "record.json"
# Left out of a run's checksums: large files with their own checksums, and files that disappear or keep changing.
_APART = ("checkpoints", "tensorboard", "release", "images", "records", "parts")
_BY_HAND = "vqa_scores.json"


class StoredError(ValueError):
    """A run's file is damaged, or is not what its name says; the message names the file, the reason and the fix."""


def read_object(
    path: Path, fix: str = "delete it and call the command again, which makes it again"
) -> dict[str, Any]:
    """Read a JSON file that holds one object.

    Raises:
        FileNotFoundError: there is no such file.
        StoredError: it cannot be read, or does not hold an object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise StoredError(f"{path}: nested too deeply to be read; {fix}") from None
    except (OSError, ValueError) as error:  # of the file, of UTF-8, of JSON
        raise StoredError(f"{path}: cannot be read ({error}); {fix}") from error
    if not isinstance(values, dict):
        raise StoredError(f"{path}: holds a {type(values).__name__}, not an object; {fix}")
    return values


def read_record_file(path: Path) -> Record:
    """Read a run's record.

    Raises:
        FileNotFoundError: there is none.
        StoredError: it is damaged, has no outcome, holds a metric that is not a number, or is the record of another run.
    """
    fix = (
        "delete it and call the same command again; if the run's own copy of it is complete, that is put back, and nothing is "
        "computed"
    )
    return parse_record(read_object(path, fix), path, path.parent.name, fix)


def parse_record(values: Mapping[str, Any], path: Path, run: str, fix: str) -> Record:
    """Make a run's record from its JSON values.

    Args:
        path: named in errors.
        run: the identity of the run that it should be the record of.

    Raises:
        StoredError: as :func:`read_record_file`.
    """
    outcome, metrics = values.get("outcome"), values.get("metrics", {})
    if not isinstance(outcome, dict) or outcome.get("status") not in STATUSES:
        raise StoredError(f"{path}: has no outcome ({', '.join(STATUSES)}); {fix}")
    if not isinstance(metrics, dict):
        raise StoredError(f"{path}: 'metrics' is not an object; {fix}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StoredError(f"{path}: metric '{name}' is {str(value)[:60]!r}, not a number; {fix}")
    if values.get("run", run) != run:
        raise StoredError(f"{path}: is the record of another run, {str(values['run'])[:100]}; {fix}")
    try:
        return Record.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise StoredError(f"{path}: '{place}' cannot be read ({first['msg']}); {fix}") from error


def checksums(directory: Path) -> dict[str, str]:
    """Compute the checksum of each file that a run left for others, by its path in the run's directory.

    A data set's images and records are left out: its manifest, which is here, has a checksum of each.
    """
    checksum_of = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory)
        hidden = any(part.startswith(".") for part in name.parts)
        if (
            path.is_file()
            and not hidden
            and name.parts[0] not in _APART
            and str(name) not in (RECORD, _BY_HAND)
        ):
            checksum_of[name.as_posix()] = _checksum(path, *_state(path))
    return checksum_of


def checksum(content: bytes) -> str:
    """Compute the checksum of a file's content, as ``checksums`` writes it."""
    return _named(hashlib.sha256(content).hexdigest())


def verify(directory: Path, name: str | None = None) -> None:
    """Compare the files of a run's directory, or one of them, with the checksums in its record.

    Nothing is compared if there is no record, or an old one without checksums. A file is compared once per process.

    Raises:
        StoredError: a file holds other bytes than when the run was recorded.
    """
    path = directory / RECORD
    if not path.is_file():
        return
    files = read_record_file(path).files
    for file, checksum in files.items() if name is None else ((name, files.get(name)),):
        if checksum and (directory / file).is_file():
            actual = _checksum(directory / file, *_state(directory / file))
            if actual != checksum:
                raise StoredError(
                    f"{directory / file}: is damaged or was replaced (its checksum is {actual}, in {RECORD} {checksum}): "
                    f"delete {directory} and call the command again, which makes the run again. Under DVC, look at its cache "
                    "too (docs/dvc.md, A damaged cache)"
                )


@cache
def _checksum(path: Path, size: int, changed: int, inode: int) -> str:
    """Compute the checksum of a file; size, time and inode are arguments so that a cached result does not outlive the file."""
    with path.open("rb") as file:
        return _named(hashlib.file_digest(file, "sha256").hexdigest())


def _named(digest: str) -> str:
    return f"sha256:{digest[:32]}"


def _state(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
