"""Captions of web images: vague, cluttered, and at times wrong; Conceptual Captions is cleaner and more general than SBU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from mamo.data.world.captions import compose
from mamo.data.world.grammar import WEB, sentence
from mamo.data.world.kinds import BY_NAME, KINDS, TINTS
from mamo.data.world.oracle import Description, Mention, Statement, true_of
from mamo.data.world.scene import Scene


@dataclass(frozen=True)
class WebNoise:
    """Faults of a web data set, as shares of captions; ``noise`` multiplies the world's web noise."""

    noise: float
    hypernyms: float
    clutter: float
    frames: tuple[str, ...]


SBU = WebNoise(
    noise=1.0, hypernyms=0.05, clutter=0.4,
    frames=("my photo of {}", "saw {} today", "{} by my house", "{} #{tag}", "{} 2009", "look, {}", "img {number} {}"),
)  # fmt: skip
CC3M = WebNoise(
    noise=0.5, hypernyms=0.25, clutter=0.25,
    frames=("stock image of {}", "photo of {}", "illustration of {}", "{} - vector", "{} isolated"),
)  # fmt: skip


def web_caption(
    rng: Random, scene: Scene, source: WebNoise, noise: float, kinds: int
) -> tuple[str, Statement]:
    """Draw a caption and what it says, which is false of the scene for a share ``source.noise * noise`` of captions.

    Args:
        rng: where the draws come from.
        scene: the image.
        source: the data set.
        noise: the world's share of wrong captions, 0 to 1.
        kinds: how many of ``KINDS`` the world has.
    """
    while True:
        statement = compose(rng, scene, rng.uniform(0, 0.6))
        if true_of(statement, scene):
            break
    if rng.random() < source.hypernyms:
        statement = _more_general(rng, statement, scene)
    if rng.random() < source.noise * noise:
        statement = _wrong(rng, statement, scene, kinds)
    text = sentence(statement, WEB, rng)
    if rng.random() < source.clutter:
        mentioned = statement.mentions[0].what
        tag = rng.choice(
            [word for word in (mentioned.kind, mentioned.tint, mentioned.category) if word]
        ).replace(" ", "")
        text = rng.choice(source.frames).format(text, tag=tag, number=rng.randrange(100, 10000))
    return text, statement


def _more_general(rng: Random, statement: Statement, scene: Scene) -> Statement:
    """Name a kind by its hypernym ('a red vehicle'), where that stays true."""
    place = rng.randrange(len(statement.mentions))
    what = statement.mentions[place].what
    if what.kind is None:
        return statement
    general = replace(what, kind=None, category=BY_NAME[what.kind].category)
    candidate = _with(statement, place, replace(statement.mentions[place], what=general))
    return candidate if true_of(candidate, scene) else statement


def _wrong(rng: Random, statement: Statement, scene: Scene, kinds: int) -> Statement:
    """Change one attribute, kind or count, or add an object that is not there, so that the statement is false."""
    while True:
        place = rng.randrange(len(statement.mentions))
        mention = statement.mentions[place]
        change = rng.choice(("tint", "kind", "count", "more"))
        if change == "tint":
            candidate = _with(
                statement, place, replace(mention, what=replace(mention.what, tint=rng.choice(list(TINTS))))
            )
        elif change == "kind":
            what = replace(mention.what, kind=rng.choice(KINDS[:kinds]).name, category=None)
            candidate = _with(statement, place, replace(mention, what=what))
        elif change == "count":
            candidate = _with(statement, place, replace(mention, count=rng.choice((2, 3))))
        else:
            absent = Mention(Description(rng.choice(KINDS[:kinds]).name))
            candidate = replace(statement, mentions=(*statement.mentions, absent))
        if not true_of(candidate, scene):
            return candidate


def _with(statement: Statement, place: int, mention: Mention) -> Statement:
    mentions = (*statement.mentions[:place], mention, *statement.mentions[place + 1 :])
    return replace(statement, mentions=mentions)
