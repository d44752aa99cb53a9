"""Resolve names that people type: one rule for runs, and the nearest valid name for a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping

LISTED = 5  # names in a message; the rest are counted


def few(names: Iterable[str], separator: str = ", ") -> str:
    """Join the first names of a list, and say how many more there are."""
    every = list(names)
    more = len(every) - LISTED
    return separator.join([*every[:LISTED], *([f"and {more} more"] if more > 0 else [])]) or "none"


def nearest(name: str, known: Iterable[str]) -> str:
    """Suggest the closest of the known names, or list the first of them: ', did you mean ...?'."""
    every = sorted(known)
    close = difflib.get_close_matches(name, every, n=1, cutoff=0.5)
    return f": did you mean '{close[0]}'?" if close else f": known here are {few(every)}"


def find_key(
    name: str,
    names: Mapping[str, str],
    what: str,
    *,
    first: Collection[str] = (),
    also: Iterable[str] = (),
) -> str:
    """Find the run that a name stands for, by the one rule of all commands.

    A run can be named by its ``kind/id``, its id, its name (``name`` or ``kind/name``) if that is unique, or the start of any
    of these if that is unique. The first rule that fits decides.

    Args:
        names: key (``kind/id``) of each candidate run -> its name.
        what: description of the candidates, e.g. ``pretrain run of scale 'demo'``.
        first: preferred keys if several fit, e.g. planned runs before older executed ones.
        also: other names that could have been meant, for the message.

    Returns:
        the key.

    Raises:
        mamo.specs.overrides.SpecError: no run fits, or several do; the message has the nearest names.
    """
    from mamo.specs.overrides import SpecError  # which needs `nearest` from here

    ids = {key: key.partition("/")[2] for key in names}
    called = {key: (names[key], f"{key.partition('/')[0]}/{names[key]}") for key in names}
    rules = (
        [key for key in names if name in (key, ids[key])],
        [key for key in names if name in called[key]],
        [key for key in names if name and (key.startswith(name) or ids[key].startswith(name))],
    )
    matches = next((keys for keys in rules if keys), [])
    matches = [key for key in matches if key in first] or matches
    if len(matches) == 1:
        return matches[0]
    shown = ids if len({key.partition("/")[0] for key in names}) == 1 else {key: key for key in names}
    if matches:
        listed = few([shown[key] for key in matches], "\n  ")
        raise SpecError(f"'{name}' is ambiguous; the runs are\n  {listed}")
    spellings: dict[str, str] = {}
    for key in names:
        for spelling in (names[key], ids[key], key):
            spellings.setdefault(spelling, shown[key])
    spellings |= {other: other for other in also}
    close = difflib.get_close_matches(name, spellings, n=2 * LISTED, cutoff=0.8)
    close = close or difflib.get_close_matches(name, spellings, n=2 * LISTED, cutoff=0.5)
    near = list(dict.fromkeys(spellings[spelling] for spelling in close))[:LISTED]
    if len(near) == 1:
        raise SpecError(f"'{name}' is not a {what}: did you mean '{near[0]}'?")
    which = "the nearest are" if near else "there are"
    listed = few(near or [*also, *shown.values()], "\n  ")
    raise SpecError(f"'{name}' is not a {what}; {which}\n  {listed}")
