"""Imports between the rooms of the package run one way, in the order that docs/architecture.md states."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Not a room: it holds `mamo.load`, which opens the uppermost rooms on demand.
DOOR = "mamo"


def order() -> list[str]:
    """The rooms from the ground up, as the table of the architecture page lists them, e.g. ``mamo.data.store``."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.partition("## Rooms and their order")[2].partition("\n## ")[0]
    return [
        room.replace("/", ".")
        for room in re.findall(r"^\| \d+ \| `(mamo/[\w/]+?)(?:/|\.py)` \|", section, re.MULTILINE)
    ]


@cache
def modules() -> dict[str, str]:
    """Module -> source, of every file of the package."""
    sources = {}
    for path in sorted((ROOT / "mamo").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        sources[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return sources


def room_of(module: str, rooms: list[str]) -> str | None:
    """The innermost room that holds a module; None for one in no room of the list."""
    holding = [room for room in rooms if module == room or module.startswith(f"{room}.")]
    return max(holding, key=len, default=None)


@cache
def names_in(source: str) -> tuple[str, ...]:
    """Return what a source imports, at its top, in functions or for type checks alone: ``module`` or ``module.name``."""
    imported = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, (
                f"'from {'.' * node.level}{node.module or ''}' hides the room that it leads to"
            )
            imported += [f"{node.module}.{alias.name}" for alias in node.names]
    return tuple(imported)


def imported(module: str, known: Mapping[str, str]) -> Iterator[str]:
    """The package's modules that a module imports."""
    for name in names_in(known[module]):
        while name not in known and "." in name:
            name = name.rpartition(".")[0]
        if name in known:
            yield name


def faults(known: Mapping[str, str], rooms: list[str]) -> list[str]:
    """Return what breaks the order: modules in no listed room, and imports of a higher room."""
    problems = [
        f"{module}: is in no room" for module in known if module != DOOR and room_of(module, rooms) is None
    ]
    for module in known:
        here = room_of(module, rooms)
        for other in imported(module, known) if here else ():
            there = room_of(other, rooms)
            if other == DOOR or (there and rooms.index(there) > rooms.index(here)):
                problems.append(f"{module}: imports {other}, which is above it")
    return problems


def test_every_room_is_listed_once_and_imports_none_above_it() -> None:
    rooms = order()
    assert len(rooms) == len(set(rooms)) > 20
    assert faults(modules(), rooms) == []


def test_every_listed_room_exists() -> None:
    known = modules()
    assert [room for room in order() if room not in known] == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"mamo.model.mamo": "from mamo.tasks.task import Task"},
            "mamo.model.mamo: imports mamo.tasks.task, which is above it",
        ),
        (
            {"mamo.model.mamo": "from mamo.tasks import task"},
            "mamo.model.mamo: imports mamo.tasks.task, which is above it",
        ),
        (
            {"mamo.model.mamo": "def f():\n    import mamo.runs.run"},
            "mamo.model.mamo: imports mamo.runs.run, which is above it",
        ),
        ({"mamo.model.mamo": "import mamo"}, "mamo.model.mamo: imports mamo, which is above it"),
        (
            {
                "mamo.figures.maps": "import mamo.cli.main",
                "mamo.cli.main": "import mamo.figures.maps",
            },  # a circle
            "mamo.figures.maps: imports mamo.cli.main, which is above it",
        ),
        (
            {"mamo.data.examples": "import mamo.data.store.writer"},
            "mamo.data.examples: imports mamo.data.store.writer, which is above it",
        ),
        ({"mamo.attic.old": ""}, "mamo.attic.old: is in no room"),
    ],
)
def test_what_breaks_the_order_is_found(changes: dict[str, str], said: str) -> None:
    assert faults(modules() | changes, order()) == [said]
