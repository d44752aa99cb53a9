"""Choose what a caption says: which objects of a scene, with which attributes and relations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from mamo.data.world.grammar import Voice, sentence
from mamo.data.world.oracle import Description, Mention, SceneIndex, Statement, clear_relations, true_of
from mamo.data.world.scene import Scene, Thing, changed_positions

Caption = tuple[str, Statement]
CAPTIONS = 5  # of each image in COCO and Flickr30K
WORDS = range(6, 15)
TELLING = 0.85  # share of a twin's captions that must be false of the other twin
_ATTEMPTS = 40  # to find a caption of each kind before a scene is given up


def compose(rng: Random, scene: Scene, detail: float, focus: Sequence[int] = ()) -> Statement:
    """Compose a true statement about some objects of a scene.

    Args:
        rng: where the draws come from.
        scene: what it speaks of.
        detail: 0 (few objects and attributes) to 1 (nearly all).
        focus: positions of objects that are named first.
    """
    order = [i for i in rng.sample(range(len(scene.things)), len(scene.things)) if i not in focus]
    order = [*rng.sample(list(focus), len(focus)), *order]
    most = min(3, len(order))
    target = max(
        len(focus[:2]), 1 + (rng.random() < 0.55 + 0.4 * detail) + (rng.random() < 0.15 + 0.45 * detail)
    )
    mentions: list[Mention] = []
    members: list[list[Thing]] = []
    spoken: set[int] = set()
    for i in order:
        if len(mentions) >= min(target, most):
            break
        if i in spoken:
            continue
        thing = scene.things[i]
        with_tint, with_size = rng.random() < 0.5 + 0.5 * detail, rng.random() < 0.12 + 0.6 * detail
        peers = [j for j, other in enumerate(scene.things) if other.kind == thing.kind]
        if len(peers) > 1 and not spoken & set(peers) and rng.random() < 0.6:
            if with_tint:
                peers = [j for j in peers if scene.things[j].tint == thing.tint]
        else:
            peers = [i]
        plural = len(peers) > 1
        what = Description(
            thing.kind, thing.tint if with_tint else None, thing.size if with_size and not plural else None
        )
        mentions.append(Mention(what, len(peers)))
        members.append([scene.things[j] for j in peers])
        spoken |= set(peers)
    relations: tuple[tuple[int, str, int], ...] = ()
    if len(mentions) > 1 and rng.random() < 0.45 + 0.4 * detail:
        common = set.intersection(*(set(clear_relations(a, b)) for a in members[0] for b in members[1]))
        if common:
            relations = ((0, rng.choice(sorted(common)), 1),)
    ground = scene.background if rng.random() < 0.25 + 0.5 * detail or len(scene.things) == 1 else None
    return Statement(tuple(mentions), relations, ground)


def caption(
    rng: Random,
    scene: Scene,
    voice: Voice,
    accept: Callable[[Statement], bool] = lambda statement: True,
    focus: Sequence[int] = (),
) -> Caption | None:
    """Draw a true caption of 6 to 14 words whose statement is accepted, growing more detailed; ``None`` if there is none."""
    start = rng.uniform(0.1, 0.9)
    for attempt in range(_ATTEMPTS):
        grown = min(1.0, start + (1 - start) * attempt / (_ATTEMPTS / 2))
        statement = compose(rng, scene, grown, focus)
        # A statement composed from the scene may still be false: 'two cats' and 'a cat' would need three.
        if _repetitive(statement) or not true_of(statement, scene):
            continue
        text = sentence(statement, voice, rng)
        if len(text.split()) in WORDS and accept(statement):
            return text, statement
    return None


def _repetitive(statement: Statement) -> bool:
    """Check whether two mentions could be the same object ('an apple and a red apple'), which sounds wrong even if true."""
    whats = [mention.what for mention in statement.mentions]
    return any(
        a.kind == b.kind
        and (a.tint is None or b.tint in (None, a.tint))
        and (a.size is None or b.size in (None, a.size))
        for i, a in enumerate(whats)
        for j, b in enumerate(whats)
        if i != j
    )


def training_captions(rng: Random, scene: Scene, voice: Voice, twin: Scene | None = None) -> list[Caption]:
    """Five different captions; most of a twin's are false of the other twin."""
    statements: dict[str, Statement] = {}
    focus = changed_positions(scene, twin) if twin is not None else ()
    while len(statements) < CAPTIONS:
        made = None
        if twin is not None and rng.random() < TELLING:
            made = caption(rng, scene, voice, lambda statement: not true_of(statement, twin), focus)
        made = made or caption(rng, scene, voice)
        if made is not None:
            statements.setdefault(*made)
    return list(statements.items())


def gallery_captions(
    rng: Random, scenes: Sequence[Scene], voice: Voice, redraw: Callable[[Random, int], Scene]
) -> tuple[list[Scene], list[list[Caption]]]:
    """Five captions for every scene, each true of this scene alone; scenes without such captions are drawn again.

    Args:
        rng: where the draws come from.
        scenes: the gallery.
        voice: how the captions speak.
        redraw: another scene for a place, given its position.
    """
    gallery = SceneIndex(scenes)
    accepted: list[list[Caption]] = []
    for place in range(len(gallery.scenes)):
        while (captions := _unique_captions(rng, gallery, place, voice)) is None:
            scene = redraw(rng, place)
            # What was said of other scenes must stay true of them alone.
            while any(true_of(statement, scene) for others in accepted for _, statement in others):
                scene = redraw(rng, place)
            gallery.replace(place, scene)
        accepted.append(captions)
    return gallery.scenes, accepted


def _unique_captions(rng: Random, gallery: SceneIndex, place: int, voice: Voice) -> list[Caption] | None:
    captions: dict[str, Statement] = {}
    for _ in range(3 * CAPTIONS):
        made = caption(
            rng, gallery.scenes[place], voice, lambda statement: gallery.true_places(statement) == [place]
        )
        if made is None:
            return None
        captions.setdefault(*made)
        if len(captions) == CAPTIONS:
            return list(captions.items())
    return None
