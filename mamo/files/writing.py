"""Writing files so that they are there whole or not at all."""

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
    """Write a file beside its place and rename it, so that it is there whole or not at all."""
    with beside(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that the file is either whole or not there."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1) + "\n")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A place beside a file's own, to write to; what was written is renamed at the end, once the disk has it.

    After an error the file is as it was before. What killed processes of this machine left beside it is removed. The file gets
    the mode that the user's umask (or the folder's default ACL) gives to a new file, whatever its writer makes of it.
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
        if part.stat().st_mode != mode:  # safetensors writes for its own user alone
            part.chmod(mode & 0o7777)
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def as_new(directory: Path) -> None:
    """Give the files below a run's directory at least the mode that a new file gets here, whichever library wrote them.

    Some writers keep a file for their own user whatever the umask says; a second user of a shared checkout could not read it.
    """
    probe = directory / f".mode-{os.getpid()}"
    probe.touch()
    wanted = probe.stat().st_mode & 0o7777
    probe.unlink()
    for path in directory.rglob("*"):
        if path.is_file() and not path.is_symlink() and wanted & ~path.stat().st_mode:
            path.chmod(wanted | path.stat().st_mode & 0o7777)
