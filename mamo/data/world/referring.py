"""Referring expressions in RefCOCO+'s manner (no places in the image, one object meant) and detections to choose from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from mamo.data.world.grammar import GENOME, RELATIONS, Voice, choose, nominal
from mamo.data.world.oracle import Description, Mention, Statement, clear_relations, fitting, referents
from mamo.data.world.render import PixelBox
from mamo.data.world.scene import Scene, Thing

SENTENCES = 3  # expressions of each object, as in RefCOCO+
MISSED = 0.06  # share of objects that the detector does not find
_RELATION = 0.25  # share of expressions that name a second object
_VOICE: Voice = replace(GENOME, kinds=(0.85, 0.15), after=0.0)
_ATTEMPTS = 30


def expressions(rng: Random, scene: Scene, thing: Thing) -> list[tuple[str, Statement]]:
    """Compose up to three expressions that fit this object and no other; none if it has a double.

    RefCOCO+ forbids absolute places, so the only relation is "next to".
    """
    statements: dict[str, Statement] = {}
    for _ in range(_ATTEMPTS):
        statement = _statement(rng, scene, thing)
        if statement is not None and referents(statement, scene) == [thing]:
            statements.setdefault(_words(rng, statement), statement)
            if len(statements) == SENTENCES:
                break
    return list(statements.items())


def _statement(rng: Random, scene: Scene, thing: Thing) -> Statement | None:
    what = _description(rng, thing)
    if rng.random() >= _RELATION:
        return Statement((Mention(what),))
    neighbours = [
        other for other in scene.things if other is not thing and "next to" in clear_relations(thing, other)
    ]
    if not neighbours:
        return None
    other = _description(rng, rng.choice(neighbours))
    if len(fitting(other, scene)) != 1:
        return None
    return Statement((Mention(what), Mention(other)), ((0, "next to", 1),))


def _description(rng: Random, thing: Thing) -> Description:
    tint = thing.tint if rng.random() < 0.65 else None
    kind = thing.kind if tint is None or rng.random() < 0.85 else None
    return Description(kind, tint, thing.size if rng.random() < 0.25 else None)


def _words(rng: Random, statement: Statement) -> str:
    first, *others = statement.mentions
    text = nominal(first.what, _VOICE, rng)
    if rng.random() < 0.2:
        text = f"the {text}"
    for other in others:
        text = f"{text} {choose(rng, RELATIONS['next to'], _VOICE.relations)} the {nominal(other.what, _VOICE, rng)}"
    return text


def intersection_over_union(a: PixelBox, b: PixelBox) -> float:
    """Intersection over union of two boxes (x, y, width, height)."""
    width = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    height = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def detections(
    rng: Random, boxes: list[PixelBox], canvas: int
) -> Iterator[tuple[int | None, PixelBox, float]]:
    """Simulate a detector: (position of the object or ``None`` for a false alarm, box, score).

    Objects are found with an overlap of 0.6 to 0.97, except for the few missed; one to three false alarms are on the
    ground or take in two objects.
    """
    for position, true in enumerate(boxes):
        low, high = (0.25, 0.45) if rng.random() < MISSED else (0.6, 0.97)
        yield position, _shifted(rng, true, low, high, canvas), round(rng.uniform(0.6, 0.99), 4)
    for _ in range(rng.randint(1, 3)):
        if len(boxes) > 1 and rng.random() < 0.4:
            a, b = rng.sample(boxes, 2)
            x, y = min(a[0], b[0]), min(a[1], b[1])
            wrong = x, y, max(a[0] + a[2], b[0] + b[2]) - x, max(a[1] + a[3], b[1] + b[3]) - y
        else:
            wrong = _elsewhere(rng, boxes, canvas)
        yield None, wrong, round(rng.uniform(0.3, 0.8), 4)


def _shifted(rng: Random, true: PixelBox, low: float, high: float, canvas: int) -> PixelBox:
    """Draw a box inside the image whose overlap with the true one is between two bounds."""
    x, y, width, height = true
    reach = 1.0 - low
    while True:
        w, h = (max(2, round(length * (1 + reach * rng.uniform(-0.6, 0.8)))) for length in (width, height))
        left, top = (
            round(x + width * reach * rng.uniform(-0.6, 0.6)),
            round(y + height * reach * rng.uniform(-0.6, 0.6)),
        )
        left, top = max(left, 0), max(top, 0)
        box = left, top, min(w, canvas - left), min(h, canvas - top)
        if box[2] > 0 and box[3] > 0 and low <= intersection_over_union(box, true) <= high:
            return box


def _elsewhere(rng: Random, boxes: list[PixelBox], canvas: int) -> PixelBox:
    """Draw a box of an object's size that overlaps objects little."""
    while True:
        w, h = (round(canvas * rng.uniform(0.1, 0.25)) for _ in range(2))
        candidate = rng.randint(0, canvas - w), rng.randint(0, canvas - h), w, h
        if all(intersection_over_union(candidate, box) < 0.3 for box in boxes):
            return candidate
