"""A virtual environment that holds some installed packages and what they need, and nothing else; nothing is downloaded."""

from __future__ import annotations

import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement


def make(folder: Path, *names: str) -> Path:
    """Make it, with links to the packages of this environment; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    for package in _closure(names):
        tops = {path.parts[0] for path in package.files or () if path.parts[0] not in ("..", "__pycache__")}
        for top in sorted(tops):
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(package.locate_file(top))))
    return folder / "bin" / "python"


def _closure(names: tuple[str, ...]) -> list[Distribution]:
    pending, seen, packages = list(names), set(), []
    while pending:
        name = pending.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            packages.append(distribution(name))
        except PackageNotFoundError:  # a requirement that does not apply here
            continue
        for text in packages[-1].requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return packages
