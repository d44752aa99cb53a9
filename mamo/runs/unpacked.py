"""Runs taken from a pack: their records are there, their weights or data are not.

A note in the run's directory marks them. Data and starting weights are made again when a new run needs them; a pre-training,
which may take days, only on request.
"""

from __future__ import annotations

import json
from pathlib import Path

from mamo.files.stored import StoredError, read_object
from mamo.files.writing import write_text

MARK = ".unpacked.json"


def unpacked(directory: Path) -> bool:
    """Check whether a directory's run was taken from a pack and has not been made here since."""
    return (directory / MARK).is_file()


def mark(directory: Path, site: str) -> None:
    """Note that a run is taken from a pack, and which site made it."""
    write_text(directory / MARK, json.dumps({"site": site}) + "\n")


def unmark(directory: Path) -> None:
    """Note that all of a run's files are there."""
    (directory / MARK).unlink(missing_ok=True)


def marked_site(directory: Path) -> str | None:
    """Return the site of a run that was taken from a pack; None for one that was made here, and where the note is damaged."""
    try:
        site = read_object(directory / MARK).get("site")
    except (FileNotFoundError, StoredError):
        return None
    return site if isinstance(site, str) else None
