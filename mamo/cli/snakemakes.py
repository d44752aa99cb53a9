"""Find the Snakemakes that work in a project's folder, and clean up what killed ones leave there."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

MARKERS = Path(".snakemake/incomplete")
# Options of a Snakemake that only looks, or that runs one job of another Snakemake.
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

_WORDS = {"true", "false", "null", "nan", "inf", "infinity"}


def running_snakemakes(folder: Path, scale: str | None = None, usual: str | None = None) -> list[int]:
    """List the process ids of this machine's Snakemakes that work in a folder.

    Snakemakes of other machines or hidden by their owner are not found.

    Args:
        scale: only those that work at this one; others lock other files.
        usual: the scale of one that names none.
    """
    import psutil

    processes = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            words = process.cmdline()
            if not _is_snakemake(words) or _HARMLESS & set(words):
                continue
            if scale is not None and _scale(words, usual) != scale:
                continue
            if Path(process.cwd()).resolve() == folder.resolve() and process.status() != psutil.STATUS_ZOMBIE:
                processes.append(process.pid)
    return sorted(processes)


def _scale(words: list[str], usual: str | None) -> str | None:
    """Return the scale that a Snakemake's command line names (see :func:`config_word`)."""
    named = [word.removeprefix("scale=") for word in words if word.startswith("scale=")]
    return named[-1].removeprefix("!!str ").strip(" \"'") if named else usual


def config_word(name: str, value: str) -> str:
    """Quote a text for Snakemake's ``--config``, which would not take ``2024``, ``1e3`` or ``True`` as text."""
    if re.fullmatch(r"(\.{0,2}/|[A-Za-z])[\w./-]*", value) and value.lower() not in _WORDS:
        return f"{name}={value}"
    # The space keeps the last quote, since Snakemake takes off those at a word's ends before it reads YAML.
    return f"{name}=!!str {json.dumps(value, ensure_ascii=False)} "


def _is_snakemake(words: list[str]) -> bool:
    """Recognise ``snakemake ...``, ``python .../snakemake ...`` and ``python -m snakemake ...``."""
    if "snakemake" in [Path(word).name for word in words[:2]]:
        return True
    return words[1:3] == ["-m", "snakemake"]


def clear_stale_markers(markers: Path = MARKERS) -> list[str]:
    """Remove Snakemake's markers of unfinished jobs from files that exist nevertheless.

    A file of this workflow is renamed into place, so it is complete if it exists. Snakemake does not know that: killed while a
    run goes on, it takes the run's record for half-written, plans that run alone, and leaves out everything that reads it.

    Returns:
        the files.
    """
    cleared = []
    for marker in _marker_files(markers):
        name = _marked(marker.relative_to(markers))
        if name is not None and Path(name).is_file():
            marker.unlink(missing_ok=True)
            cleared.append(name)
    return cleared


def missing_outputs(files: Iterable[Path]) -> str | None:
    """Report files that a Snakemake left out although it exited with 0; None if all are there."""
    lacking = sorted({str(path) for path in files if not path.exists()})
    if not lacking:
        return None
    listed = "".join(f"\n  {name}" for name in lacking[:10])
    return f"{len(lacking)} files are not made: call the same command again{listed}"


def _marker_files(markers: Path) -> Iterator[Path]:
    return (path for path in sorted(markers.rglob("*")) if path.is_file())


def _marked(marker: Path) -> str | None:
    """Decode the path of a marker's file: base 64, split into folders ``@...`` where it is too long for one name."""
    text = "".join(part.removeprefix("@") for part in marker.parts)
    try:
        return base64.urlsafe_b64decode(text).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
