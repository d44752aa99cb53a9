"""Structured statements about a scene, and the oracle that decides from the scene graph whether they are true.

Relations are judged generously (any column further left is "left of") and stated strictly (``clear_relations``), so that
what a generator says is beyond doubt and what it calls false is false under any reading.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mamo.data.world.scene import Scene, Thing

INVERSE = {
    "left of": "right of",
    "right of": "left of",
    "above": "below",
    "below": "above",
    "next to": "next to",
}


@dataclass(frozen=True, slots=True)
class Description:
    """Attributes that a text gives to an object; ``None`` leaves one open. ``category`` is a hypernym in place of ``kind``."""

    kind: str | None = None
    tint: str | None = None
    size: str | None = None
    category: str | None = None

    def fits(self, thing: Thing) -> bool:
        return (
            (self.kind is None or self.kind == thing.kind)
            and (self.tint is None or self.tint == thing.tint)
            and (self.size is None or self.size == thing.size)
            and (self.category is None or self.category == thing.category)
        )


@dataclass(frozen=True, slots=True)
class Mention:
    """'a red cat' (one object that fits, there may be more) or, with ``count`` >= 2, 'two red cats' (exactly two fit)."""

    what: Description
    count: int = 1


@dataclass(frozen=True, slots=True)
class Statement:
    """Distinct objects, relations between them (positions in ``mentions``), and the background."""

    mentions: tuple[Mention, ...] = ()
    relations: tuple[tuple[int, str, int], ...] = ()
    background: str | None = None


def related(a: Thing, relation: str, b: Thing) -> bool:
    """Check whether ``a`` is left of / right of / above / below / next to ``b``, judged generously.

    Raises:
        KeyError: no such relation.
    """
    across, down = b.column - a.column, b.row - a.row
    return {
        "left of": across > 0,
        "right of": across < 0,
        "above": down > 0,
        "below": down < 0,
        "next to": max(abs(across), abs(down)) == 1,
    }[relation]


def clear_relations(a: Thing, b: Thing) -> list[str]:
    """Return the relations of ``a`` to ``b`` that anyone would agree to: one direction dominates; neighbours share a side."""
    across, down = b.column - a.column, b.row - a.row
    relations = []
    if abs(across) > abs(down):
        relations.append("left of" if across > 0 else "right of")
    if abs(down) > abs(across):
        relations.append("above" if down > 0 else "below")
    if abs(across) + abs(down) == 1:
        relations.append("next to")
    return relations


def fitting(what: Description, scene: Scene) -> list[Thing]:
    """Return the objects of a scene that a description fits."""
    return [thing for thing in scene.things if what.fits(thing)]


def true_of(statement: Statement, scene: Scene) -> bool:
    """Check whether some assignment of distinct objects to the mentions makes everything true."""
    if statement.background is not None and statement.background != scene.background:
        return False
    options: list[list[tuple[Thing, ...]]] = []
    for mention in statement.mentions:
        things = fitting(mention.what, scene)
        if mention.count > 1:
            if len(things) != mention.count:
                return False
            options.append([tuple(things)])
        elif things:
            options.append([(thing,) for thing in things])
        else:
            return False
    return _assign(options, [], statement.relations)


def _assign(
    options: Sequence[Sequence[tuple[Thing, ...]]],
    chosen: list[tuple[Thing, ...]],
    relations: Sequence[tuple[int, str, int]],
) -> bool:
    place = len(chosen)
    if place == len(options):
        return all(
            related(a, relation, b) for i, relation, j in relations for a in chosen[i] for b in chosen[j]
        )
    taken = {id(thing) for group in chosen for thing in group}
    return any(
        _assign(options, [*chosen, group], relations)
        for group in options[place]
        if not any(id(thing) in taken for thing in group)
    )


def referents(statement: Statement, scene: Scene) -> list[Thing]:
    """Find the objects that the first mention can stand for, the others standing for any: one if a phrase is unambiguous."""
    first, *others = statement.mentions
    things = []
    for thing in fitting(first.what, scene):
        options = [[(thing,)], *([(other,) for other in fitting(mention.what, scene)] for mention in others)]
        if _assign(options, [], statement.relations):
            things.append(thing)
    return things


class SceneIndex:
    """Scenes with an index by single attributes, to find quickly all those of which a statement is true."""

    def __init__(self, scenes: Iterable[Scene]) -> None:
        self.scenes: list[Scene] = []
        self._index: dict[tuple[str, str], set[int]] = {}
        for scene in scenes:
            self.scenes.append(scene)
            self._enter(len(self.scenes) - 1)

    def replace(self, place: int, scene: Scene) -> None:
        """Put another scene in a place."""
        for members in self._index.values():
            members.discard(place)
        self.scenes[place] = scene
        self._enter(place)

    def true_places(self, statement: Statement) -> list[int]:
        """Return the places of all scenes of which the statement is true, ascending."""
        candidates: set[int] | None = None
        for key in _keys(statement):
            members = self._index.get(key, set())
            candidates = members if candidates is None else candidates & members
        places = range(len(self.scenes)) if candidates is None else sorted(candidates)
        return [place for place in places if true_of(statement, self.scenes[place])]

    def _enter(self, place: int) -> None:
        scene = self.scenes[place]
        keys = {("background", scene.background)}
        for thing in scene.things:
            keys |= {("kind", thing.kind), ("tint", thing.tint), ("look", f"{thing.kind} {thing.tint}")}
        for key in keys:
            self._index.setdefault(key, set()).add(place)


def _keys(statement: Statement) -> list[tuple[str, str]]:
    """Return the attributes that a scene must have for the statement to be true, the rarest kind of attribute first."""
    keys = []
    for what in (mention.what for mention in statement.mentions):
        if what.kind and what.tint:
            keys.append(("look", f"{what.kind} {what.tint}"))
        elif what.kind:
            keys.append(("kind", what.kind))
        elif what.tint:
            keys.append(("tint", what.tint))
    if statement.background:
        keys.append(("background", statement.background))
    return keys
