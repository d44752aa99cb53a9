"""Sites, which made the runs: named after their GPU or processor unless a name was given.

A scale's results hold one result of each run, which the pages show. Other sites' results for the same spec are below
``sites/<site>/``, laid out as a scale's results are, so that every command can read it like them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mamo.files.record import Record
from mamo.runs.unpacked import marked_site
from mamo.specs.base import check_names
from mamo.specs.overrides import SpecError
from mamo.specs.recorded import KINDS

SITES = "sites"


def machine_site(record: Record) -> str:
    """Return the name of the machine that made a run, as a file name: its GPU, else its processor."""
    machine = record.provenance.machine
    words = str(machine.get("gpu") or machine.get("cpu") or "unknown")
    return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-.")[:60] or "unknown"


def check_site(name: str) -> str:
    """Check a site's name that was given by hand.

    Raises:
        SpecError: it could not be a file name.
    """
    try:
        check_names([name], "site")
    except ValueError as error:
        raise SpecError(str(error)) from None
    return name


def site_of(directory: Path, record: Record) -> str:
    """Return the site that made the run in a directory."""
    if directory.parent.parent.parent.name == SITES:
        return directory.parent.parent.name
    return marked_site(directory) or machine_site(record)


def record_paths(results: Path) -> Iterator[Path]:
    """List the records of one scale's results: first those that pages show, then those of other sites."""
    trees = [results, *sorted(path for path in (results / SITES).glob("*/"))]
    for tree in trees:
        for kind in KINDS:
            yield from sorted((tree / kind).glob("*/record.json"))
