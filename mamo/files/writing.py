"""Write files atomically: they are either complete or absent."""

from __future__ import annotations

import glob
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a file atomically: it is either complete or absent."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically: the file is either complete or absent."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; on success fsync it and rename it into place.

    After an error the file is as it was before. Leftovers of killed processes of this machine are removed. The file gets the
    mode that the user's umask (or the folder's default ACL) gives to a new file, whatever its writer sets.
    """
    stem = f".{path.name}.{socket.gethostname()}-"
    for left in path.parent.glob(f"{glob.escape(stem)}*"):
        if not Path(f"/proc/{left.name.removeprefix(stem)}").exists():
            left.unlink(missing_ok=True)
    part = path.with_name(f"{stem}{os.getpid()}")
    try:
        part.touch()
        mode = part.stat().st_mode
        yield part
        if part.stat().st_mode != mode:  # safetensors writes files that only their user can read
            part.chmod(mode & 0o7777)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def as_new(directory: Path) -> None:
    """Give the files below a run's directory at least the mode that a new file gets here, whichever library wrote them.

    Some libraries ignore the umask and make files that only their user can read, which breaks shared checkouts.
    """
    probe = directory / f".mode-{os.getpid()}"
    probe.touch()
    allowed = probe.stat().st_mode & 0o7777
    probe.unlink()
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and allowed & ~path.stat().st_mode:
            path.chmod(allowed | path.stat().st_mode & 0o7777)
