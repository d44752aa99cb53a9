"""NLVR2's statements about two images, each with as many true as false pairs, so that the words alone decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from mamo.data.world.grammar import COCO, GROUNDS, NUMBERS, nominal, with_article
from mamo.data.world.oracle import Description, fitting
from mamo.data.world.scene import Scene, Thing, pick

PAIRS = 4  # of each sentence, half of them true
# Mostly what a small model can learn; 'one' means at least one, and its true pairs have exactly one.
FORMS = {
    "left": 0.24, "right": 0.24, "both": 0.14, "one": 0.10, "neither": 0.05, "shows": 0.06, "total": 0.10, "more": 0.07,
}  # fmt: skip
_ATTEMPTS = 400


@dataclass(frozen=True, slots=True)
class PairStatement:
    """A statement about a left and a right image: its form, what it counts, a number (where the form has one), its words."""

    form: str
    what: Description
    number: int
    background: str | None
    text: str

    def true_of(self, left: Scene, right: Scene) -> bool:
        """Check whether it is true of a pair of scenes."""
        a, b = self.count(left), self.count(right)
        return {
            "left": a >= 1,
            "right": b >= 1,
            "both": a >= 1 and b >= 1,
            "one": a >= 1 or b >= 1,
            "neither": a == b == 0,
            "shows": self.number in (a, b),
            "total": a + b == self.number,
            "more": a > b if self.number == 0 else b > a,
        }[self.form]

    def fair(self, left: Scene, right: Scene) -> bool:
        """Check that nobody would judge otherwise: skip 'one image' for pairs in which both images do."""
        a, b = self.count(left), self.count(right)
        if self.form == "one":
            return not (a and b)
        return not (self.form == "shows" and a == b == self.number)

    def count(self, scene: Scene) -> int:
        """Count the objects of one image that the statement counts (0 or 1 where the background is meant)."""
        if self.background is not None:
            return int(scene.background == self.background)
        return len(fitting(self.what, scene))


StatementGroup = tuple[PairStatement, list[tuple[int, int, bool]]]


def draw_groups(rng: Random, pool: Sequence[Scene], groups: int) -> list[StatementGroup]:
    """Draw statements, each with four pairs (left, right, whether it is true) of positions in the pool, two of them true.

    Raises:
        ValueError: the pool is too small to find true and false pairs.
    """
    drawn: list[StatementGroup] = []
    sides: dict[tuple[Description, str | None], tuple[list[int], list[int]]] = {}
    failures = 0
    while len(drawn) < groups:
        statement = draw_statement(rng, rng.choice(rng.choice(pool).things), rng.choice(pool).background)
        key = statement.what, statement.background
        if key not in sides:
            sides[key] = _sides(statement, pool)
        pairs = _pairs(rng, statement, pool, *sides[key])
        if pairs is None:
            failures += 1
            if failures > 200 * (groups + 5):
                raise ValueError(
                    f"no true and false pairs among {len(pool)} scenes; raise the number of NLVR2 statements"
                )
            continue
        drawn.append((statement, pairs))
    return drawn


def draw_statement(rng: Random, thing: Thing, background: str) -> PairStatement:
    """Draw a statement about things like this one, or about a background."""
    form = pick(rng, FORMS)
    number, ground = 0, None
    style = rng.random()
    what = Description(thing.kind, thing.tint if style < 0.55 else None, thing.size if style > 0.95 else None)
    if form in ("left", "right", "both", "one", "neither"):
        if rng.random() < 0.06:
            ground = background
        elif rng.random() < 0.1:
            what = Description(tint=thing.tint)
        object_text = f"something {what.tint}" if what.kind is None else with_article(_say(what, rng))
        if ground is not None:
            words = GROUNDS[ground][0]
            text = {
                "left": f"the left image was taken {words}", "right": f"the right image was taken {words}",
                "both": f"both images were taken {words}", "one": f"one of the images was taken {words}",
                "neither": f"neither image was taken {words}",
            }[form]  # fmt: skip
        else:
            verb = rng.choice(("contains", "shows"))
            subject = {
                "left": "the left image",
                "right": "the right image",
                "one": "one image",
                "neither": "neither image",
            }
            text = (
                f"both images {verb.rstrip('s')} {object_text}"
                if form == "both"
                else f"{subject[form]} {verb} {object_text}"
            )
    elif form == "more":
        number = int(rng.random() < 0.5)
        sides = ("left", "right") if number == 0 else ("right", "left")
        what = Description(category=thing.category) if rng.random() < 0.3 else Description()
        noun = "objects" if what.category is None else _say(what, rng, plural=True)
        text = f"the {sides[0]} image contains more {noun} than the {sides[1]} one"
    else:
        wide = form == "total" and rng.random() < 0.5
        what = Description(category=thing.category) if wide else Description(thing.kind)
        number = rng.choice((2, 2, 3)) if form == "shows" else rng.choice((1, 2, 2, 3, 3, 4))
        noun = _say(what, rng, plural=number > 1)
        if form == "shows":
            text = f"one image shows exactly {NUMBERS[number]} {noun}"
        else:
            text = f"there {'are' if number > 1 else 'is'} exactly {NUMBERS[number]} {noun} in total"
    return PairStatement(form, what, number, ground, text)


def _say(what: Description, rng: Random, plural: bool = False) -> str:
    return nominal(what, COCO, rng, plural)


def _sides(statement: PairStatement, pool: Sequence[Scene]) -> tuple[list[int], list[int]]:
    """Return the positions of the scenes which have what is spoken of, and of those which nearly have it."""
    having = [i for i, scene in enumerate(pool) if statement.count(scene)]
    near = [
        i for i, scene in enumerate(pool) if not statement.count(scene) and _nearly(statement.what, scene)
    ]
    return having, near


def _pairs(
    rng: Random, statement: PairStatement, pool: Sequence[Scene], having: list[int], near: list[int]
) -> list[tuple[int, int, bool]] | None:
    """Draw two true and two false pairs in random order; sides are drawn from scenes that have, nearly have, or lack it."""
    lists = [side for side in (having, near, range(len(pool))) if side]
    by_truth: dict[bool, list[tuple[int, int, bool]]] = {True: [], False: []}
    seen: set[tuple[int, int]] = set()
    for _ in range(_ATTEMPTS):
        left, right = rng.choice(rng.choice(lists)), rng.choice(rng.choice(lists))
        if left == right or (left, right) in seen or not statement.fair(pool[left], pool[right]):
            continue
        truth = statement.true_of(pool[left], pool[right])
        if len(by_truth[truth]) < PAIRS // 2:
            seen.add((left, right))
            by_truth[truth].append((left, right, truth))
            if len(by_truth[True]) == len(by_truth[False]) == PAIRS // 2:
                return rng.sample(by_truth[True] + by_truth[False], PAIRS)
    return None


def _nearly(what: Description, scene: Scene) -> bool:
    """Check whether some object has the kind or the tint, so that one attribute alone does not decide."""
    return any(
        thing.kind == what.kind or (what.tint is not None and thing.tint == what.tint)
        for thing in scene.things
    )
