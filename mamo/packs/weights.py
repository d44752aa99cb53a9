"""Packs of starting weights: the runs that pre-trainings begin from, with all of their files.

Starting weights that are made on two kinds of processors differ in their last digits. A study on several machines makes them
once, packs them, and unpacks them on each machine. The records of the data behind them come along, without the data.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from mamo.files.stored import StoredError, read_record_file, verify
from mamo.files.writing import atomic_write, write_text
from mamo.packs.archive import MEMBER, TOTAL, PackError, largest, read_archive, write_archive
from mamo.packs.content import WEIGHTS_FILES
from mamo.packs.merge import Pack, PackedRun
from mamo.packs.pack import (
    FORMAT,
    RECORD,
    PackContents,
    collect_runs,
    leave_out_without_inputs,
    packed_files,
    small_files,
)
from mamo.packs.sites import SITES, site_of
from mamo.runs.lock import run_lock
from mamo.runs.run import CHECKPOINTS, RunError
from mamo.runs.unpacked import mark, mark_whole, unpacked
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError

LIMIT = 100_000_000  # bytes of weights that are packed without being asked; those of scale demo take 8 MB
KEPT = ".record.json"  # a run's own copy of its record


@dataclass
class Restored:
    """The outcome of unpacking starting weights, by ``site/kind/run``.

    Attributes:
        restored: starting weights that are here now, with all of their files.
        there: starting weights that were here before, with the same bytes.
        records: data whose records are here now; the data are made when a run needs them.
        refused: name -> why; what was here before stays as it was.
    """

    restored: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def write_weights_pack(
    scale: str, results: Path, out: Path, site: str | None = None, large: bool = False
) -> PackContents:
    """Write a scale's starting weights into one file, with all of their files; the same weights give the same bytes.

    Args:
        results: the scale's results.
        site: a name for the site of runs that were made here; None: after their GPU or processor.
        large: pack more than 100 MB, too.

    Returns:
        what was packed, and what was left out and why.

    Raises:
        SpecError: no starting weights are there with their files, or they are too large.
    """
    written = PackContents()
    collected, runs = collect_runs(results, site, written)
    directories, files = dict[str, Path](), dict[str, set[str]]()
    for name, directory in collected.items():
        kind = name.split("/")[1]
        if directory.parent.parent.parent.name == SITES or kind not in ("data", "weights"):
            continue
        if kind == "weights":
            try:
                files[name] = _whole_files(directory)
            except StoredError as error:
                written.left_out[name.split("/", 1)[1]] = str(error)
                continue
        else:
            files[name] = small_files(name, directory)
        directories[name] = directory
    written.left_out = {
        key: why for key, why in written.left_out.items() if key.startswith(("data/", "weights/"))
    }
    leave_out_without_inputs(directories, runs, written)
    directories = _without_other_data(directories, runs)
    if not directories:
        reasons = "".join(f"; {key}: {why}" for key, why in written.left_out.items())
        raise SpecError(
            f"{results}: holds no starting weights that could be packed{reasons}. "
            f"`mamo weights vision text visual_tokens --scale {scale} --needs` makes them"
        )
    _check_size(scale, directories, files, runs, large)
    written.runs = list(directories)
    contents = {
        "format": FORMAT,
        "scale": scale,
        "weights": True,
        "runs": written.runs,
        "shown": written.runs,
    }
    write_archive(out, packed_files(contents, directories, files))
    return written


def restore_weights(pack: Pack, results: Path, site: str | None = None) -> Restored:
    """Put starting weights where they are missing; what is here already stays. Records are written last.

    Args:
        pack: of starting weights.
        results: the scale's results.
        site: a name for the pack's site, in place of what it says; for a pack of one site.

    Raises:
        PackError: the pack has several sites, and a name is given for one.
    """
    if site is not None and len({run.site for run in pack.runs.values()}) > 1:
        raise PackError(f"{pack.path}: holds runs of several sites, so --site cannot name them all")
    restored, places = Restored(), dict[str, Path]()
    with ExitStack() as locks:
        for name, run in pack.runs.items():  # inputs come before what needs them
            directory = results / run.key
            try:
                problem = run.problem or _missing_input(run, places.values(), results)
                if not problem:
                    directory.mkdir(parents=True, exist_ok=True)
                    locks.enter_context(run_lock(directory))
                    problem = _other_weights(run, directory, pack.scale)
                if problem:
                    restored.refused[name] = problem
                elif not (directory / RECORD).is_file():
                    places[name] = directory
                    (restored.records if run.key.startswith("data/") else restored.restored).append(name)
                elif run.key.startswith("weights/"):
                    if unpacked(directory) or not _intact(directory):
                        places[name] = directory
                        restored.restored.append(name)
                    else:
                        restored.there.append(name)
            except (RunError, StoredError) as error:
                restored.refused[name] = str(error)
        _write(pack, places, site)
    return restored


def _other_weights(run: PackedRun, directory: Path, scale: str) -> str:
    """Say why a run may not take the place of what its directory holds; '' if it may, or the same is there.

    Raises:
        StoredError: the record there is damaged.
    """
    kept = directory / KEPT
    if not (directory / RECORD).is_file() and kept.is_file():  # a workflow removed it: see mamo.runs.execute
        read_record_file(kept)
        write_text(directory / RECORD, kept.read_text(encoding="utf-8"))
    if run.key.startswith("data/") or not (directory / RECORD).is_file():
        return ""
    known = read_record_file(directory / RECORD)
    if run.record is not None and known.files == run.record.files:
        return ""
    owner = site_of(directory, known)
    if unpacked(directory):
        return (
            f"{directory} holds the record of other weights, of {owner}, without their files: `mamo results forget {known.run} "
            f"--scale {scale}` puts it aside"
        )
    return (
        f"{directory} holds other weights, made by {owner}. They stay, since pre-trainings may have begun from them. To begin "
        "from the pack's, move this folder away, with the pre-trainings that need it, and unpack again"
    )


def _write(pack: Pack, places: Mapping[str, Path], site: str | None) -> None:
    """Write the runs that have a place, the records last."""
    for member, content in read_archive(pack.path):
        match = MEMBER.fullmatch(member)
        assert match is not None, "read_archive refuses other names"
        directory = places.get(f"{match['site']}/{match['kind']}/{match['run']}")
        if directory is not None and match["file"] != RECORD:
            path = directory / match["file"]
            path.parent.mkdir(exist_ok=True)
            with atomic_write(path) as part:
                part.write_bytes(content)
    for name, directory in places.items():
        run = pack.runs[name]
        if (directory / RECORD).is_file():  # the same weights, without their files until now
            if unpacked(directory):
                mark_whole(directory, site_of(directory, read_record_file(directory / RECORD)))
            continue
        (mark if run.key.startswith("data/") else mark_whole)(directory, site or run.site)
        write_text(directory / KEPT, run.text)
        write_text(directory / RECORD, run.text)
        # Leftovers of a training that is not needed now.
        shutil.rmtree(directory / CHECKPOINTS, ignore_errors=True)


def _missing_input(run: PackedRun, coming: Iterable[Path], results: Path) -> str:
    """Name an input of a run that has no record here; '' if none is missing."""
    for key in run.inputs.values():
        if results / key not in coming and not (results / key / RECORD).is_file():
            return f"its input {key} is neither in {results} nor restored from the pack"
    return ""


def _intact(directory: Path) -> bool:
    """Check that all files that a run's record lists are there, with their checksums."""
    try:
        _whole_files(directory)
    except StoredError:
        return False
    return True


def _whole_files(directory: Path) -> set[str]:
    """List the files of starting weights, the record included.

    Raises:
        StoredError: they are not all there, or some are damaged.
    """
    files = read_record_file(directory / RECORD).files
    if unpacked(directory):
        raise StoredError("was taken from a pack without its files")
    if not files:
        raise StoredError(f"its {RECORD} has no checksums, since an earlier version made it")
    for name in files:
        if not (directory / name).is_file():
            raise StoredError(f"{directory / name} is missing")
        if not name.endswith(WEIGHTS_FILES):
            raise StoredError(f"{directory / name} is not a file that a pack can hold")
    verify(directory)
    return {RECORD, *files}


def _without_other_data(directories: dict[str, Path], runs: dict[str, Run]) -> dict[str, Path]:
    """Keep starting weights, and the data that they directly or indirectly need."""
    by_key = {name.split("/", 1)[1]: name for name in directories}
    needed = [name for name in directories if name.split("/")[1] == "weights"]
    for name in needed:  # grows on the way
        needed.extend(by_key[key] for key in runs[name].inputs.values() if by_key[key] not in needed)
    return {name: path for name, path in directories.items() if name in needed}


def _check_size(
    scale: str, directories: dict[str, Path], files: dict[str, set[str]], runs: dict[str, Run], large: bool
) -> None:
    """Refuse starting weights that are too large to travel.

    Raises:
        SpecError: naming the largest run, and the way to have its weights on another machine.
    """
    sizes = {
        name: {file: (path / file).stat().st_size for file in files[name]}
        for name, path in directories.items()
        if name.split("/")[1] == "weights"
    }
    total = sum(sum(of_run.values()) for of_run in sizes.values())
    greatest = max(sizes, key=lambda name: sum(sizes[name].values()))
    spec = runs[greatest].spec
    told = (
        f"the starting weights of scale '{scale}' take {total / 1e6:.0f} MB, most of it {greatest.split('/', 1)[1]} "
        f"({spec['name'] or spec['source']})"
    )
    beyond = [
        f"{name}/{file}"
        for name, of_run in sizes.items()
        for file, size in of_run.items()
        if size > largest(f"{name}/{file}")
    ]
    if beyond or total > TOTAL - (TOTAL >> 4):  # leaves room for the records and the tar's own
        raise SpecError(
            f"{told}: more than a pack can hold. Copy their folders below weights/, and those of data/"
        )
    if total > LIMIT and not large:
        raise SpecError(
            f"{told}; above {LIMIT / 1e6:.0f} MB they are packed only with --large. Published models can be fetched again on "
            f"each machine instead, and are the same there: `mamo weights vision text visual_tokens --scale {scale} --needs`"
        )
