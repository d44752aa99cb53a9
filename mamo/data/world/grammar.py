"""Put structured statements into English, in the voices of different data sets: other synonyms, other word order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from mamo.data.world.kinds import BY_NAME, CATEGORIES
from mamo.data.world.oracle import INVERSE, Description, Mention, Statement

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# All words for a relation, before the second object.
RELATIONS = {
    "left of": ("to the left of", "left of", "on the left side of", "on the left of"),
    "right of": ("to the right of", "right of", "on the right side of", "on the right of"),
    "above": ("above", "over", "higher than"),
    "below": ("below", "under", "beneath"),
    "next to": ("next to", "beside", "close to", "near"),
}
# 'B with A on its left'.
SIDES = {
    "left of": "on its left",
    "right of": "on its right",
    "above": "above it",
    "below": "below it",
    "next to": "by its side",
}
GROUNDS = {
    "grass": ("on the grass", "on grass", "in the meadow", "on a lawn"),
    "sand": ("on the sand", "on sand", "in the desert", "at the beach"),
    "snow": ("in the snow", "on snow", "on the snow", "in winter"),
    "water": ("on the water", "on water", "in the lake", "at sea"),
    "wood": ("on a wooden floor", "on wood", "on the planks", "on a wooden table"),
    "night": ("at night", "in the night sky", "under the stars", "in the dark"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}


@dataclass(frozen=True)
class Voice:
    """The voice of a data set: the weight of each synonym (by position in the tables above) and of each sentence form."""

    kinds: tuple[float, float]
    sizes: tuple[float, float, float]
    relations: tuple[float, float, float, float]
    grounds: tuple[float, float, float, float]
    forms: dict[str, float]
    after: float = 0.0  # share of attributes behind the noun: 'a car that is red'
    ground_first: float = 0.0  # share of sentences that open with the background
    frames: tuple[tuple[str, float], ...] = (("{}", 1.0),)


COCO = Voice(
    kinds=(0.85, 0.15), sizes=(0.55, 0.35, 0.10), relations=(0.65, 0.25, 0.07, 0.03), grounds=(0.6, 0.25, 0.1, 0.05),
    forms={"plain": 0.6, "is": 0.15, "there": 0.2, "with": 0.05}, after=0.03, ground_first=0.05,
    frames=(("{}", 0.9), ("a picture of {}", 0.07), ("a view of {}", 0.03)),
)  # fmt: skip
FLICKR = Voice(
    kinds=(0.6, 0.4), sizes=(0.2, 0.45, 0.35), relations=(0.2, 0.3, 0.3, 0.2), grounds=(0.25, 0.2, 0.3, 0.25),
    forms={"plain": 0.25, "is": 0.35, "there": 0.05, "with": 0.35}, after=0.15, ground_first=0.35,
    frames=(("{}", 0.85), ("we see {}", 0.1), ("{} in the photo", 0.05)),
)  # fmt: skip
GENOME = Voice(
    kinds=(0.75, 0.25), sizes=(0.5, 0.3, 0.2), relations=(0.3, 0.5, 0.1, 0.1), grounds=(0.4, 0.4, 0.1, 0.1),
    forms={"plain": 0.75, "is": 0.25}, after=0.08,
)  # fmt: skip
WEB = Voice(
    kinds=(0.7, 0.3), sizes=(0.4, 0.4, 0.2), relations=(0.4, 0.3, 0.15, 0.15), grounds=(0.4, 0.2, 0.2, 0.2),
    forms={"plain": 0.8, "with": 0.2}, ground_first=0.05,
)  # fmt: skip


def choose(rng: Random, words: Sequence[str], weights: Sequence[float]) -> str:
    """Choose one of the words; weights beyond the words are ignored."""
    return rng.choices(words, weights[: len(words)])[0]


def with_article(phrase: str) -> str:
    """Write 'an apple', 'a red apple'."""
    return f"{'an' if phrase[0] in 'aeiou' and not phrase.startswith('one') else 'a'} {phrase}"


def noun(what: Description, voice: Voice, rng: Random, plural: bool = False) -> str:
    """Write the head: a name of the kind, a hypernym, or 'thing'."""
    if what.kind is not None:
        names = BY_NAME[what.kind].names
        name = names[rng.choices(range(len(names)), voice.kinds[: len(names)])[0]]
        return name[plural]
    if what.category is not None:
        return CATEGORIES[what.category] if plural else what.category
    return rng.choice(("things", "objects") if plural else ("thing", "object"))


def nominal(what: Description, voice: Voice, rng: Random, plural: bool = False) -> str:
    """Write attributes and noun without an article: 'small red cat', 'cats that are red'."""
    head = noun(what, voice, rng, plural)
    adjectives = [choose(rng, SIZE_WORDS[what.size], voice.sizes)] if what.size else []
    adjectives += [what.tint] if what.tint else []
    if adjectives and rng.random() < voice.after:
        return f"{head} that {'are' if plural else 'is'} {' and '.join(adjectives)}"
    return " ".join([*adjectives, head])


def phrase(mention: Mention, voice: Voice, rng: Random) -> str:
    """Write 'a small red cat', 'two red cats'."""
    if mention.count > 1:
        return f"{NUMBERS[mention.count]} {nominal(mention.what, voice, rng, plural=True)}"
    return with_article(nominal(mention.what, voice, rng))


def enumeration(phrases: Sequence[str]) -> str:
    """Write 'A', 'A and B', 'A, B and C'."""
    return " and ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def sentence(statement: Statement, voice: Voice, rng: Random) -> str:
    """Write a caption that says what the statement says, lower case and without a full stop.

    At most one relation, between the first two mentions, is put into words.
    """
    phrases = [phrase(mention, voice, rng) for mention in statement.mentions]
    clause = False  # has a verb, so that no frame fits around it
    plural = statement.mentions[0].count > 1 if statement.mentions else False
    form = rng.choices(list(voice.forms), list(voice.forms.values()))[0]
    if statement.relations:
        (first, relation, second), *_ = statement.relations
        a, b = phrases[first], phrases[second]
        rest = [p for i, p in enumerate(phrases) if i not in (first, second)]
        all_single = all(statement.mentions[i].count == 1 for i in (first, second))
        if form == "with" and all_single:
            text = f"{b} with {a} {SIDES[relation]}"
        else:
            if rng.random() < 0.3:
                a, b, relation = b, a, INVERSE[relation]
                first = second
            words = choose(rng, RELATIONS[relation], voice.relations)
            copula = " are" if statement.mentions[first].count > 1 else " is"
            clause = form in ("is", "there")
            text = f"{a}{copula if form == 'is' else ''} {words} {b}"
            if form == "there":
                text = f"there{copula} {a} {words} {b}"
        if rest:
            text = f"{text}, and {enumeration(rest)}"
    else:
        text = enumeration(phrases)
        if form == "there" and phrases:
            clause = True
            text = f"there {'are' if plural else 'is'} {text}"
    if statement.background is not None:
        ground = choose(rng, GROUNDS[statement.background], voice.grounds)
        first_place = rng.random() < voice.ground_first
        clause |= first_place
        text = ground if not text else f"{ground}, {text}" if first_place else f"{text} {ground}"
    if not clause:
        frames, weights = zip(*voice.frames, strict=True)
        text = rng.choices(frames, weights)[0].format(text)
    return text
