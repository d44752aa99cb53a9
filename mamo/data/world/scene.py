"""Scene graphs: objects with attributes on a board of cells, drawn at random or as the twin of another scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from mamo.data.world.kinds import BACKGROUNDS, BY_NAME, KINDS, SIZES, TINTS

# What a twin changes; binding (which object has which tint) and place cannot be told from a bag of words.
TWIN_CHANGES = {"tint": 0.35, "swap tints": 0.3, "swap places": 0.15, "kind": 0.12, "size": 0.08}


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: its attributes, its cell, and its offset from the cell's middle as a share of the free play."""

    kind: str
    tint: str
    size: str
    row: int
    column: int
    offset: tuple[float, float]

    @property
    def category(self) -> str:
        return BY_NAME[self.kind].category

    @property
    def look(self) -> tuple[str, str, str]:
        return self.kind, self.tint, self.size


@dataclass(frozen=True, slots=True)
class Scene:
    """Objects in distinct cells before a background; ``texture`` seeds what the background looks like."""

    things: tuple[Thing, ...]
    background: str
    texture: int


def stream(seed: int, *names: object) -> Random:
    """Make a random stream of its own for every seed and name, the same on every machine."""
    return Random("/".join(map(str, (seed, *names))))


def pick(rng: Random, weights: dict[str, float]) -> str:
    """Draw a key in proportion to its weight."""
    return rng.choices(list(weights), list(weights.values()))[0]


def draw_scene(
    rng: Random, kinds: int, grid: int, counts: Sequence[float], echo: float = 0.4, least: int = 1
) -> Scene:
    """Draw a scene.

    Args:
        rng: where the draws come from.
        kinds: how many of ``KINDS`` occur.
        grid: cells per side.
        counts: shares of scenes with one object, two, and so on.
        echo: probability that an object shares its kind or its tint with an earlier one.
        least: smallest number of objects.
    """
    shares = {n: share for n, share in enumerate(counts, 1) if n >= least}
    n = rng.choices(list(shares), list(shares.values()))[0]
    things: list[Thing] = []
    for cell in rng.sample(range(grid * grid), n):
        kind, tint = rng.choice(KINDS[:kinds]).name, rng.choice(list(TINTS))
        if things and rng.random() < echo:
            earlier = rng.choice(things)
            if rng.random() < 0.6:
                kind = earlier.kind
                if rng.random() < 0.4:
                    tint = earlier.tint
            else:
                tint = earlier.tint
        offset = rng.uniform(-1, 1), rng.uniform(-1, 1)
        things.append(Thing(kind, tint, rng.choice(list(SIZES)), *divmod(cell, grid), offset))
    return Scene(tuple(things), rng.choice(BACKGROUNDS), rng.getrandbits(32))


def draw_twin(rng: Random, scene: Scene, kinds: int) -> Scene:
    """Copy a scene with one attribute of one object changed, or tints or places of two objects swapped."""
    things = list(scene.things)
    change = pick(rng, TWIN_CHANGES)
    if change.startswith("swap"):
        pairs = [
            (a, b)
            for a in range(len(things))
            for b in range(a)
            if (
                things[a].tint != things[b].tint and things[a].look[::2] != things[b].look[::2]
                if change == "swap tints"
                else things[a].look != things[b].look
            )
        ]
        if not pairs:
            change = "tint"
        else:
            a, b = rng.choice(pairs)
            first, other = things[a], things[b]
            if change == "swap tints":
                things[a], things[b] = replace(first, tint=other.tint), replace(other, tint=first.tint)
            else:
                things[a] = replace(first, row=other.row, column=other.column)
                things[b] = replace(other, row=first.row, column=first.column)
    if not change.startswith("swap"):
        i = rng.randrange(len(things))
        things[i] = _altered(rng, things[i], change, kinds)
    return replace(scene, things=tuple(things))


def _altered(rng: Random, thing: Thing, attribute: str, kinds: int) -> Thing:
    if attribute == "tint":
        return replace(thing, tint=rng.choice([tint for tint in TINTS if tint != thing.tint]))
    if attribute == "size":
        return replace(thing, size=rng.choice([size for size in SIZES if size != thing.size]))
    return replace(thing, kind=rng.choice([kind.name for kind in KINDS[:kinds] if kind.name != thing.kind]))


def changed_positions(scene: Scene, twin: Scene) -> tuple[int, ...]:
    """Return the positions (in ``things``) of the objects in which two twins differ."""
    return tuple(i for i, (a, b) in enumerate(zip(scene.things, twin.things, strict=True)) if a != b)
