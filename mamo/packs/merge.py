"""Merge packs into results: a run that still resolves to its digest goes in, the rest is refused by name.

The pages show one result of each run. A run missing from the results fills the gap; one that they have from another site goes
below ``sites/``. A fine-tuning stays with its own pre-training: it fills a gap only where the pre-training beside it is of the
same site.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamo.files.record import Record
from mamo.files.stored import StoredError, parse_record, read_record_file
from mamo.files.writing import atomic_write, write_text
from mamo.packs.archive import CONTENTS, MEMBER, PackError, read_archive
from mamo.packs.content import ContentError, check_file, check_weights_file
from mamo.packs.pack import FORMAT, RECORD
from mamo.packs.sites import SITES, site_of
from mamo.reporting.items import ITEMS
from mamo.runs.lock import run_lock
from mamo.runs.run import CHECKPOINTS, RunError
from mamo.runs.unpacked import mark
from mamo.specs.overrides import SpecError
from mamo.specs.recorded import KINDS, resolve

_KINDS: tuple[str, ...] = KINDS


@dataclass
class PackedRun:
    """One run of a pack.

    Attributes:
        name: ``site/kind/run``.
        files: file name -> SHA-256 of its content.
        record: None until it was read, and where it cannot be read.
        text: the record's own text.
        problem: why it is refused; '' if it is accepted.
    """

    name: str
    files: dict[str, str] = field(default_factory=dict)
    record: Record | None = None
    text: str = ""
    problem: str = ""

    @property
    def inputs(self) -> Mapping[str, str]:
        """The record's inputs: role -> ``kind/run``."""
        return self.record.inputs if self.record else {}

    @property
    def site(self) -> str:
        return self.name.split("/")[0]

    @property
    def key(self) -> str:
        """``kind/run``."""
        return self.name.split("/", 1)[1]


@dataclass
class Pack:
    """A pack's content, read and checked, without the content of its larger files.

    Attributes:
        runs: by name, those that pages showed first, inputs before what needs them.
        figures: file names of maps.
        weights: it holds starting weights with all of their files (:mod:`mamo.packs.weights`).
    """

    path: Path
    scale: str
    runs: dict[str, PackedRun]
    figures: list[str]
    weights: bool = False


@dataclass
class Merged:
    """The outcome of a merge, by ``site/kind/run``.

    Attributes:
        shown: fill a gap, so that pages show them.
        apart: are below ``sites/``, since the pages show another site's result of the same run.
        there: were there before, with the same numbers.
        refused: name -> why.
    """

    shown: list[str] = field(default_factory=list)
    apart: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)

    def refuse(self, name: str, why: str) -> None:
        """Refuse a run that was accepted before."""
        self.refused[name] = why
        self.shown = [other for other in self.shown if other != name]
        self.apart = [other for other in self.apart if other != name]


def read_pack(path: Path) -> Pack:
    """Read a pack and check every run on its own.

    Raises:
        PackError: the file is not a pack, or contradicts its own list of runs.
    """
    contents: dict[str, Any] = {}
    runs: dict[str, PackedRun] = {}
    figures: list[str] = []
    for name, content in read_archive(path):
        match = MEMBER.fullmatch(name)
        assert match is not None, "read_archive refuses other names"
        if name == CONTENTS:
            contents = _contents(content, path)
            runs = {run: PackedRun(run) for run in contents["runs"]}
        elif match["figure"]:
            figures.append(match["figure"])
        else:
            run = runs.get(f"{match['site']}/{match['kind']}/{match['run']}")
            if run is None:
                raise PackError(f"{path}: holds '{name}', which its {CONTENTS} does not list")
            _read_file(run, match["file"], content, path, contents)
    if not contents:
        raise PackError(f"{path}: has no {CONTENTS}, so it is not a pack")
    shown = set(contents["shown"])
    # Inputs first: the kinds stand in that order, and of data the world, which needs nothing, comes before the others.
    order = sorted(
        runs,
        key=lambda n: (n not in shown, _KINDS.index(n.split("/")[1]), bool(runs[n].inputs)),
    )
    for run in runs.values():
        if RECORD not in run.files and not run.problem:
            run.problem = f"has no {RECORD}"
        if contents["weights"] and run.record and run.record.kind == "weights" and not run.problem:
            lacking = sorted(run.record.files.keys() - run.files.keys())
            if lacking or not run.record.files:
                run.problem = f"lacks {lacking[0] if lacking else 'the checksums of its files'}"
    return Pack(path, contents["scale"], {name: runs[name] for name in order}, figures, contents["weights"])


def merge_pack(
    pack: Pack, results: Path, site: str | None = None, maps: Mapping[str, str] | None = None
) -> Merged:
    """Merge a pack into one scale's results. Records are written last, so that no run is ever half there.

    Args:
        results: the scale's results.
        site: a name for the pack's site, in place of what it says; for a pack of one site.
        maps: figure -> the name of the file with its current maps; others are left out.

    Raises:
        PackError: the pack has several sites, and a name is given for one.
    """
    if site is not None and len({run.site for run in pack.runs.values()}) > 1:
        raise PackError(f"{pack.path}: holds runs of several sites, so --site cannot name them all")
    merged, places = Merged(), dict[str, Path]()
    for name, run in pack.runs.items():
        owner = site or run.site
        problem = run.problem or _missing_input(run, owner, merged, places, results)
        place = None
        if not problem:
            place, problem = _place(run, owner, places, results)
        if problem:
            merged.refused[name] = problem
        elif place is None:
            merged.there.append(name)
        else:
            places[name] = place
            (merged.apart if place.parent.parent.parent.name == SITES else merged.shown).append(name)
    _write(pack, places, site, merged)
    _write_maps(pack, results, maps or {}, merged)
    return merged


def _contents(content: bytes, path: Path) -> dict[str, Any]:
    try:
        values = json.loads(content)
        if values["format"] != FORMAT:
            raise PackError(f"{path}: has format {values['format']!r}; this code reads format {FORMAT}")
        runs, shown, scale = values["runs"], values["shown"], values["scale"]
        weights = values.get("weights", False)
        good = (
            isinstance(scale, str)
            and isinstance(weights, bool)
            and all(
                isinstance(name, str) and MEMBER.fullmatch(f"{name}/{RECORD}") for name in [*runs, *shown]
            )
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackError(f"{path}: {CONTENTS} cannot be read ({error})") from error
    if not good:
        raise PackError(f"{path}: {CONTENTS} lists something that is not a run")
    return {"runs": runs, "shown": shown, "scale": scale, "weights": weights}


def _read_file(run: PackedRun, file: str, content: bytes, path: Path, contents: Mapping[str, Any]) -> None:
    """Read one file of a run and note any problem. The record comes before the run's other files."""
    run.files[file] = hashlib.sha256(content).hexdigest()
    if run.problem:
        return
    try:
        if file == RECORD:
            run.text = content.decode("utf-8")
            values = json.loads(run.text)
            if not isinstance(values, dict):
                raise ContentError("its record is not a JSON object")
            identity = run.name.rsplit("/", 1)[1]
            run.record = parse_record(values, Path(run.name) / RECORD, identity, f"it came with {path}")
            kind = run.name.split("/")[1]
            # Scales may share data and starting weights, whose record names the one that made them.
            shared = kind in ("data", "weights")
            if run.record.kind != kind or run.record.scale != contents["scale"] and not shared:
                raise ContentError("its record is of another scale or kind than the pack says")
            resolve(run.record)
        elif run.record is None:
            raise ContentError(f"'{file}' stands before its record")
        elif contents["weights"] and run.record.kind == "weights":
            check_weights_file(file, content, run.record)
        else:
            check_file(file, content, run.record)
    except (ContentError, SpecError, StoredError) as error:
        run.problem = str(error)
    except (ValueError, RecursionError) as error:
        run.problem = f"{file}: cannot be read ({error})"


def _missing_input(
    run: PackedRun, site: str, merged: Merged, places: Mapping[str, Path], results: Path
) -> str:
    """Name an input of a run that is neither there nor in the pack; '' if none is missing."""
    coming = {name.split("/", 1)[1] for name in (*places, *merged.there)}
    for key in run.inputs.values():
        paths = [results / key / RECORD, results / SITES / site / key / RECORD]
        if key in coming or any(path.is_file() for path in paths):
            continue
        refused = any(name.endswith(f"/{key}") for name in merged.refused)
        return f"its input {key} is {'refused' if refused else f'neither in the pack nor in {results}'}"
    return ""


def _place(run: PackedRun, site: str, places: Mapping[str, Path], results: Path) -> tuple[Path | None, str]:
    """Choose a run's directory; None with '' if it is there already, None with a reason if it must be refused."""
    main, own = results / run.key, results / SITES / site / run.key
    taken = main in places.values()
    for directory in (main, own):
        if not (directory / RECORD).is_file():
            continue
        known = read_record_file(directory / RECORD)
        owner = site_of(directory, known)
        if (directory / RECORD).read_text(encoding="utf-8") == run.text:
            return None, ""
        if owner == site:
            if _same_numbers(run, known, directory):
                return None, ""
            return None, (
                f"{directory} holds other numbers of the same site, {site}: if it was made elsewhere, give the pack's site "
                "a name of its own with --site"
            )
        taken = taken or directory == main
    if taken:
        return (None, "") if own in places.values() else (own, "")
    key = run.inputs.get("init")
    if key is not None:  # stays with the pre-training that it was made from
        beside_it = places.get(f"{run.site}/{key}")
        init = results / key
        if beside_it is None and (init / RECORD).is_file():
            same_site = site_of(init, read_record_file(init / RECORD)) == site
        else:
            same_site = beside_it == init
        if not same_site:
            return own, ""
    return main, ""


def _same_numbers(run: PackedRun, known: Record, directory: Path) -> bool:
    """Check that an existing run has the same results as the packed one; time and speed may differ."""
    if run.record is None or (known.outcome, known.metrics) != (run.record.outcome, run.record.metrics):
        return False
    path = directory / ITEMS
    if not path.is_file() or ITEMS not in run.files:
        return True
    return hashlib.sha256(path.read_bytes()).hexdigest() == run.files[ITEMS]


def _write(pack: Pack, places: dict[str, Path], site: str | None, merged: Merged) -> None:
    """Write the files of the runs that have a place, each run under its lock, the records last."""
    with ExitStack() as locks:
        busy: set[str] = set()
        for name, directory in list(places.items()):  # inputs come before what needs them
            run = pack.runs[name]
            gone = [key for key in run.inputs.values() if key in busy]
            try:
                if gone:
                    raise RunError(f"its input {gone[0]} is refused")
                directory.mkdir(parents=True, exist_ok=True)
                locks.enter_context(run_lock(directory))
            except RunError as error:
                merged.refuse(name, str(error))
                busy.add(run.key)
                del places[name]
        for member, content in read_archive(pack.path):
            name, _, file = member.rpartition("/")
            if name in places and file != RECORD:
                with atomic_write(places[name] / file) as part:
                    part.write_bytes(content)
        for name, directory in places.items():
            mark(directory, site or pack.runs[name].site)
            write_text(directory / ".record.json", pack.runs[name].text)
            write_text(directory / RECORD, pack.runs[name].text)
            shutil.rmtree(
                directory / CHECKPOINTS, ignore_errors=True
            )  # leftovers of a training that is not needed now


def _write_maps(pack: Pack, results: Path, maps: Mapping[str, str], merged: Merged) -> None:
    """Write current maps of figures that have none yet."""
    members = {file for file in maps.values() if file in pack.figures}
    for member, content in read_archive(pack.path) if members else ():
        folder, _, file = member.rpartition("/")
        path = results / "figures" / file
        if folder == "figures" and file in members and not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as part:
                part.write_bytes(content)
            merged.figures.append(file)
