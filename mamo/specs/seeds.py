"""Runs per row of a table, when a call overrides the numbers in the files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mamo.specs.names import nearest
from mamo.specs.overrides import SpecError

Seeds = int | Mapping[str, int] | None


def read_seeds(value: Any) -> Seeds:
    """Read runs per row from ``params.yaml`` or a command line: ``3``, ``{table5: 3}`` or ``table5=3,table6=3``.

    Raises:
        SpecError: it is none of these, or a number is below 1.
    """
    if value is None:
        return None
    if isinstance(value, str) and "=" in value:
        value = {name: count for name, _, count in (part.partition("=") for part in value.split(","))}
    if isinstance(value, Mapping):
        return {str(name): _seed_count(count, f"seeds.{name}") for name, count in value.items()}
    return _seed_count(value, "seeds")


def _seed_count(value: Any, where: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not text.isdecimal() or int(text) < 1:
        raise SpecError(f"{where}: '{text}' is not a number of runs per row; e.g. 3, or table5=3,table6=3")
    return int(text)


def write_seeds(seeds: Seeds) -> str | None:
    """Write seeds for a command line, as :func:`read_seeds` reads them; None if nothing is set."""
    if isinstance(seeds, Mapping):
        return ",".join(f"{name}={count}" for name, count in seeds.items()) or None
    return None if seeds is None else str(seeds)


def by_ablation(seeds: Seeds, experiments: Iterable[str]) -> dict[str, int]:
    """Return the runs per row of each ablation that a call sets; a bare number applies to every experiment.

    Raises:
        SpecError: a name that is not an experiment, with the nearest one.
    """
    names = list(experiments)
    chosen = dict.fromkeys(names, seeds) if isinstance(seeds, int) else dict(seeds or {})
    for name in chosen:
        if name not in names:
            raise SpecError(f"seeds.{name}: no table of runs has this name{nearest(name, names)}")
    return chosen
