"""Questions about one scene with a certain answer, in VQA v2's types and in Visual Genome's wording."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from mamo.data.world.grammar import COCO, RELATIONS, nominal, with_article
from mamo.data.world.kinds import BACKGROUNDS, BY_NAME, CATEGORIES, KINDS, SIZES, TINTS
from mamo.data.world.oracle import INVERSE, Description, clear_relations, fitting, related
from mamo.data.world.scene import Scene, Thing, pick

# Shares of the question families; those that a small model learns and people ask often come first.
FAMILIES = {
    "color": 0.22, "exists": 0.17, "attribute": 0.13, "count": 0.13, "kind": 0.26, "relation": 0.06, "size": 0.04,
    "ground": 0.06,
}  # fmt: skip
# Counts are asked for in proportion to these weights; otherwise most answers would be one.
_COUNT_WEIGHTS = (0.6, 1.0, 1.4, 1.6)  # of zero, one, two, and any more
# Of ten annotators, how many give the right answer.
_AGREEMENT = (10, 10, 10, 10, 9, 9, 8)
_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its answer, its type (its opening words, as in VQA v2) and wrong answers that people might give."""

    text: str
    answer: str
    type: str
    slips: tuple[str, ...]

    @property
    def answer_type(self) -> str:
        """Answer type in VQA v2's terms: 'yes/no', 'number' or 'other'."""
        return "yes/no" if self.answer in ("yes", "no") else "number" if self.answer.isdigit() else "other"


def ask(rng: Random, scene: Scene, kinds: int, number: int) -> list[Question]:
    """Different well-posed questions about a scene.

    Args:
        rng: where the draws come from.
        scene: what is asked about.
        kinds: how many of ``KINDS`` the world has.
        number: how many to ask; scenes of one object may offer fewer.
    """
    questions: dict[str, Question] = {}
    for _ in range(_ATTEMPTS * number):
        question = _FAMILIES[pick(rng, FAMILIES)](rng, scene, kinds)
        if question is not None:
            questions.setdefault(question.text, question)
        if len(questions) == number:
            break
    return list(questions.values())


def ten_answers(rng: Random, question: Question) -> list[str]:
    """Draw the answers of ten annotators: at least eight give the right one, the others slip."""
    agreeing = rng.choice(_AGREEMENT)
    answers = [question.answer] * agreeing + [rng.choice(question.slips) for _ in range(10 - agreeing)]
    rng.shuffle(answers)
    return answers


def _unambiguous(rng: Random, scene: Scene, without: str | None = None) -> tuple[Thing, Description] | None:
    """Draw an object and the shortest description that fits it alone and does not say the attribute ``without``."""
    thing = rng.choice(scene.things)
    for attributes in ((), ("tint",), ("size",), ("size", "tint")):
        if without not in attributes:
            what = Description(thing.kind, **{name: getattr(thing, name) for name in attributes})
            if len(fitting(what, scene)) == 1:
                return thing, what
    return None


def _say(what: Description, rng: Random, plural: bool = False) -> str:
    return nominal(what, COCO, rng, plural)


def _others(values: Sequence[str], value: str) -> tuple[str, ...]:
    return tuple(v for v in values if v != value)


def _yes_no(text: str, answer: bool, opening: str) -> Question:
    return Question(text, "yes" if answer else "no", opening, ("no" if answer else "yes",))


def _ask_color(rng: Random, scene: Scene, kinds: int) -> Question | None:
    described = _unambiguous(rng, scene, without="tint")
    if described is None:
        return None
    thing, what = described
    text = f"what color is the {_say(what, rng)}?"
    return Question(text, thing.tint, "what color is the", _others(list(TINTS), thing.tint))


def _ask_size(rng: Random, scene: Scene, kinds: int) -> Question | None:
    described = _unambiguous(rng, scene, without="size")
    if described is None:
        return None
    thing, what = described
    return Question(
        f"what size is the {_say(what, rng)}?",
        thing.size,
        "what size is the",
        _others(list(SIZES), thing.size),
    )


def _ask_existence(rng: Random, scene: Scene, kinds: int) -> Question:
    """Ask 'is there a red cat?'; half of the attributes of what is absent are present on other objects."""
    answer = rng.random() < 0.5
    with_tint = rng.random() < 0.6
    while True:
        thing = rng.choice(scene.things)
        kind, tint = thing.kind, thing.tint
        if not answer:
            near = rng.random() < 0.5
            others = scene.things if near else ()
            if with_tint and rng.random() < 0.5:
                tint = rng.choice([other.tint for other in others] or list(TINTS))
            else:
                kind = rng.choice([other.kind for other in others] or [k.name for k in KINDS[:kinds]])
                if not with_tint or not near:
                    kind = rng.choice(KINDS[:kinds]).name
        what = Description(kind, tint if with_tint else None)
        if bool(fitting(what, scene)) == answer:
            return _yes_no(f"is there {with_article(_say(what, rng))}?", answer, "is there a")


def _ask_attribute(rng: Random, scene: Scene, kinds: int) -> Question | None:
    """Ask 'is the cat red?'; half of the wrong tints are those of other objects."""
    described = _unambiguous(rng, scene, without="tint")
    if described is None:
        return None
    thing, what = described
    answer = rng.random() < 0.5
    if answer:
        tint = thing.tint
    else:
        present = [other.tint for other in scene.things if other.tint != thing.tint]
        tint = rng.choice(present if present and rng.random() < 0.5 else _others(list(TINTS), thing.tint))
    return _yes_no(f"is the {_say(what, rng)} {tint}?", answer, "is the")


def _ask_relation(rng: Random, scene: Scene, kinds: int) -> Question | None:
    """Ask 'is the cat to the left of the bus?'; the wrong ones say the opposite of what clearly holds."""
    first, second = _unambiguous(rng, scene), _unambiguous(rng, scene)
    if first is None or second is None or first[0] is second[0]:
        return None
    clear = [relation for relation in clear_relations(first[0], second[0]) if relation != "next to"]
    if not clear:
        return None
    answer = rng.random() < 0.5
    relation = clear[0] if answer else INVERSE[clear[0]]
    a, b = _say(first[1], rng), _say(second[1], rng)
    return _yes_no(f"is the {a} {RELATIONS[relation][0]} the {b}?", answer, "is the")


def _ask_count(rng: Random, scene: Scene, kinds: int) -> Question:
    """Ask 'how many dogs are there?': kinds, hypernyms, tints, with and without any in the scene."""
    options = [Description(kind) for kind in sorted({thing.kind for thing in scene.things})]
    options += [Description(rng.choice(KINDS[:kinds]).name)]
    options += [Description(category=category) for category in CATEGORIES]
    options += [Description(tint=tint) for tint in sorted({thing.tint for thing in scene.things})]
    options += [Description(), Description(tint=rng.choice(list(TINTS)))]
    by_count: dict[int, list[Description]] = {}
    for option in options:
        by_count.setdefault(len(fitting(option, scene)), []).append(option)
    counts = sorted(by_count)
    count = rng.choices(counts, [_COUNT_WEIGHTS[min(n, 3)] for n in counts])[0]
    slips = tuple(str(n) for n in (count - 1, count + 1) if n >= 0)
    what = rng.choice(by_count[count])
    noun = "things" if what.kind is None and what.category is None else None
    words = f"{what.tint} {noun}" if noun and what.tint else noun or _say(what, rng, plural=True)
    return Question(f"how many {words} are there?", str(count), "how many", slips)


def _ask_kind(rng: Random, scene: Scene, kinds: int) -> Question | None:
    """Ask 'what is to the left of the bus?', 'what is the red thing?', 'what animal is in the picture?'"""
    thing = rng.choice(scene.things)
    form = rng.choice(("place", "tint", "category"))
    if form == "tint":
        opening, text, options = (
            "what is the",
            f"what is the {thing.tint} thing?",
            fitting(Description(tint=thing.tint), scene),
        )
    elif form == "category":
        opening = f"what {thing.category} is"
        text = f"{opening} in the picture?"
        options = fitting(Description(category=thing.category), scene)
    else:
        described = _unambiguous(rng, scene)
        if described is None or described[0] is thing or not (clear := clear_relations(thing, described[0])):
            return None
        relation = rng.choice(clear)
        opening, text = "what is", f"what is {RELATIONS[relation][0]} the {_say(described[1], rng)}?"
        options = [
            other
            for other in scene.things
            if other is not described[0] and related(other, relation, described[0])
        ]
    if len(options) != 1:
        return None
    other_names = tuple(name for name, _ in BY_NAME[thing.kind].names[1:])
    return Question(
        text, thing.kind, opening, other_names or _others([k.name for k in KINDS[:kinds]], thing.kind)
    )


def _ask_ground(rng: Random, scene: Scene, kinds: int) -> Question:
    slips = _others(BACKGROUNDS, scene.background)
    described = _unambiguous(rng, scene)
    if described is None or rng.random() < 0.4:
        return Question("what is in the background?", scene.background, "what is in the", slips)
    return Question(f"where is the {_say(described[1], rng)}?", scene.background, "where is the", slips)


_FAMILIES = {
    "color": _ask_color, "exists": _ask_existence, "attribute": _ask_attribute, "count": _ask_count,
    "kind": _ask_kind, "relation": _ask_relation, "size": _ask_size, "ground": _ask_ground,
}  # fmt: skip
