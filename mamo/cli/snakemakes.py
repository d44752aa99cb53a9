"""What Snakemakes leave in a project's folder, and which of them work there."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

MARKERS = Path(".snakemake/incomplete")
# Options of a Snakemake that only looks, or that is one job of another's.
_HARMLESS = {
    "--nolock",
    "--mode",
    "-n",
    "--dry-run",
    "--dryrun",
    "--unlock",
    "--report",
    "--help",
    "--version",
}


def working(folder: Path) -> list[int]:
    """The Snakemakes of this machine that work in a folder, by their process ids.

    Those of other machines, and those whose owner hides them, are not found.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            if not _is_snakemake(words) or _HARMLESS & set(words):
                continue
            if Path(process.cwd()).resolve() == folder.resolve() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return sorted(found)


def _is_snakemake(words: list[str]) -> bool:
    """``snakemake ...``, ``python .../snakemake ...`` or ``python -m snakemake ...``."""
    if "snakemake" in [Path(word).name for word in words[:2]]:
        return True
    return words[1:3] == ["-m", "snakemake"]


def clear_stale_markers(markers: Path = MARKERS) -> list[str]:
    """Remove Snakemake's marks of unfinished jobs from the files that are there all the same.

    A file of this workflow is renamed into its place, so it is whole if it is there. Snakemake does not know: killed while a
    run goes on, it takes the run's record for half-written, plans that run alone, and leaves out everything that reads it.

    Returns:
        the files.
    """
    found = []
    for marker in _marker_files(markers):
        name = _marked(marker.relative_to(markers))
        if name is not None and Path(name).is_file():
            marker.unlink(missing_ok=True)
            found.append(name)
    return found


def _marker_files(markers: Path) -> Iterator[Path]:
    return (path for path in sorted(markers.rglob("*")) if path.is_file())


def _marked(marker: Path) -> str | None:
    """The file that a marker is of: its path in base 64, cut into folders ``@...`` where it is too long for one name."""
    text = "".join(part.removeprefix("@") for part in marker.parts)
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
