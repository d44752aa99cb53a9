"""Put unpacked runs aside, so that they can be made again here."""

from __future__ import annotations

import shutil
from pathlib import Path

from mamo.files.stored import read_record_file
from mamo.packs.sites import SITES, site_of
from mamo.runs.lock import run_lock
from mamo.runs.unpacked import unpacked
from mamo.specs.identity import Run
from mamo.specs.overrides import SpecError


def forget(run: Run, results: Path) -> list[Path]:
    """Move an unpacked run below ``sites/``, with the unpacked fine-tunings that were made from it.

    A fine-tuning stays with its own pre-training: one that is trained again here gets fine-tunings made here.

    Args:
        results: the scale's results.

    Returns:
        where they are now.

    Raises:
        SpecError: the run's files are here, so nothing would be gained and its weights would be lost.
    """
    directory = run.directory(results)
    if not unpacked(directory):
        raise SpecError(f"{run.key} was not taken from a pack, or all of its files are here")
    directories = [directory]
    if run.kind == "pretrain":
        for path in sorted((results / "finetune").glob("*/record.json")):
            if read_record_file(path).inputs.get("init") == run.key and unpacked(path.parent):
                directories.append(path.parent)
    moves = []
    for place in directories:
        site = site_of(place, read_record_file(place / "record.json"))
        target = results / SITES / site / place.parent.name / place.name
        if target.exists():
            raise SpecError(f"{target} is there already: remove one of the two")
        moves.append((place, target))
    for place, target in reversed(moves):  # move the pre-training last: until then nothing is made again
        target.parent.mkdir(parents=True, exist_ok=True)
        with run_lock(place):
            shutil.move(str(place), str(target))
    return [target for _, target in moves]
