"""Write a pack: every finished run of a scale, with its results per item and its curves, without weights and data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamo.data.releases.vqa_server import SCORES
from mamo.files.stored import StoredError, read_record_file
from mamo.packs.archive import CONTENTS, write_archive
from mamo.packs.sites import SITES, record_paths, site_of
from mamo.reporting.images import FILE as IMAGES
from mamo.reporting.images import images_text
from mamo.reporting.items import ITEMS
from mamo.runs.unpacked import marked_site, unpacked
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError
from mamo.specs.recorded import resolve

FORMAT = 1
RECORD = "record.json"
# Files of a run that pages and provenance read, beside all its tables of numbers (*.csv).
FILES = (RECORD, ITEMS, SCORES, "manifest.json", "overlap.json", IMAGES)


@dataclass
class PackContents:
    """The content of a written pack.

    Attributes:
        runs: ``site/kind/run`` of every run, in the order of the file's list.
        left_out: why a run was left out, by ``kind/run``.
        figures: the maps of drawn figures that went in, by file name.
    """

    runs: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)


def write_pack(
    scale: str, results: Path, out: Path, site: str | None = None, figures: list[Path] | None = None
) -> PackContents:
    """Write all finished runs of a scale into one file; the same results give the same bytes.

    Args:
        results: the scale's results.
        site: a name for the site of runs that were made here; None: after their GPU or processor.
        figures: files of maps that go in, too, so that drawings can be made without weights.

    Returns:
        what was packed, and what was left out and why: runs that no longer resolve to their digest, or lack an input.

    Raises:
        SpecError: nothing has finished.
    """
    written = PackContents()
    directories, runs = collect_runs(results, site, written)
    leave_out_without_inputs(directories, runs, written)
    pages = [name for name, path in directories.items() if path.parent.parent.parent.name != SITES]
    if not directories:
        raise SpecError(f"{results}: no run has finished that could be packed")
    written.runs = list(directories)
    written.figures = sorted(path.name for path in figures or ())
    contents = {"format": FORMAT, "scale": scale, "runs": written.runs, "shown": pages}
    files = {run: small_files(run, directory) for run, directory in directories.items()}
    write_archive(out, packed_files(contents, directories, files, figures or []))
    return written


def collect_runs(
    results: Path, site: str | None, written: PackContents
) -> tuple[dict[str, Path], dict[str, Run]]:
    """Collect a scale's finished runs, and note those that no longer resolve to their digest as left out.

    Returns:
        the directory and the run of each ``site/kind/run``.
    """
    directories, runs = dict[str, Path](), dict[str, Run]()
    for path in record_paths(results):
        directory = path.parent
        key = f"{directory.parent.name}/{directory.name}"
        try:
            record = read_record_file(path)
            run = resolve(record)
        except (SpecError, StoredError) as error:
            written.left_out[key] = str(error)
            continue
        local = directory.parent.parent.parent.name != SITES
        made_here = local and marked_site(directory) is None and not unpacked(directory)
        owner = site if site and made_here else site_of(directory, record)
        name = f"{owner}/{key}"
        if name in directories:  # a second one of the same site, beside the one that pages show
            written.left_out[name] = f"{name}: stands in these results twice"
            continue
        directories[name], runs[name] = directory, run
    return directories, runs


def leave_out_without_inputs(
    directories: dict[str, Path], runs: dict[str, Run], contents: PackContents
) -> None:
    """Leave out every run that needs, directly or indirectly, a run that is left out or has no record."""
    while True:
        known = {name.split("/", 1)[1] for name in directories}
        lacking = {
            name: gone[0]
            for name in directories
            if (gone := [key for key in runs[name].inputs.values() if key not in known])
        }
        if not lacking:
            return
        for name, key in lacking.items():
            del directories[name]
            key_of_run = name.split("/", 1)[1]
            contents.left_out[key_of_run] = f"{key_of_run}: its input {key} " + (
                "is left out" if key in contents.left_out else "has no record"
            )


def packed_files(
    contents: dict[str, Any],
    directories: dict[str, Path],
    names: Mapping[str, set[str]],
    figures: Sequence[Path] = (),
) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a pack, files of one name side by side, since they resemble each other.

    Args:
        names: run -> its files that go in.
    """
    yield CONTENTS, (json.dumps(contents, indent=1) + "\n").encode()
    for file in sorted(
        {name for files in names.values() for name in files}, key=lambda name: (name != RECORD, name)
    ):
        for run in sorted(directories, key=lambda name: name.split("/", 1)[1]):
            if file in names[run]:
                content = _content(directories[run], file)
                if content is not None:
                    yield f"{run}/{file}", content
    for path in sorted(figures):
        yield f"figures/{path.name}", path.read_bytes()


def small_files(run: str, directory: Path) -> set[str]:
    """List the files of a run that travel without weights and data."""
    names = {path.name for path in directory.glob("*.csv") if not path.name.startswith(".")}
    names |= {name for name in FILES if (directory / name).is_file()}
    return names | ({IMAGES} if run.split("/")[1] == "data" else set())


def _content(directory: Path, file: str) -> bytes | None:
    if file == IMAGES:
        text = images_text(directory)
        return text.encode() if text else None
    return (directory / file).read_bytes()
