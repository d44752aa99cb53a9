"""Runs taken from a pack: their records are there, their weights or data are not.

A note in the run's directory marks them. Data and starting weights are made again when a new run needs them; a pre-training,
which may take days, only on request. Starting weights may also come with all of their files (``mamo results pack --weights``):
another note then says only who made them, and they are used like those made here.
"""

from __future__ import annotations

import json
from pathlib import Path

from mamo.files.stored import StoredError, read_object
from mamo.files.writing import write_text

MARK = ".unpacked.json"
# The note of a run that came with all of its files.
WHOLE = ".site.json"


def unpacked(directory: Path) -> bool:
    """Check whether a directory's run was taken from a pack without its files and has not been made here since."""
    return (directory / MARK).is_file()


def mark(directory: Path, site: str) -> None:
    """Note that a run is taken from a pack without its files, and which site made it."""
    write_text(directory / MARK, json.dumps({"site": site}) + "\n")
    (directory / WHOLE).unlink(missing_ok=True)


def mark_whole(directory: Path, site: str) -> None:
    """Note that a run is taken from a pack with all of its files, and which site made it."""
    write_text(directory / WHOLE, json.dumps({"site": site}) + "\n")
    (directory / MARK).unlink(missing_ok=True)


def unmark(directory: Path) -> None:
    """Note that a run has been made here, with all of its files."""
    (directory / MARK).unlink(missing_ok=True)
    (directory / WHOLE).unlink(missing_ok=True)


def marked_site(directory: Path) -> str | None:
    """Return the site of a run that was taken from a pack; None for one that was made here, and where the note is damaged."""
    for name in (MARK, WHOLE):
        try:
            site = read_object(directory / name).get("site")
        except (FileNotFoundError, StoredError):
            continue
        if isinstance(site, str):
            return site
    return None
