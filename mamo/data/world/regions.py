"""Visual Genome's region descriptions: short phrases with the box of what they speak of."""

from __future__ import annotations

from random import Random

from mamo.data.world.grammar import GENOME, GROUNDS, NUMBERS, RELATIONS, choose, nominal, with_article
from mamo.data.world.oracle import Description, Mention, Statement, clear_relations
from mamo.data.world.render import PixelBox
from mamo.data.world.scene import Scene, Thing, pick

_FORMS = {"thing": 0.5, "relation": 0.3, "group": 0.1, "ground": 0.1}
_ATTEMPTS = 20

Region = tuple[str, Statement, PixelBox]


def describe_regions(
    rng: Random, scene: Scene, boxes: list[PixelBox], canvas: int, number: int
) -> list[Region]:
    """Different phrases about parts of a scene: 'red cat', 'cat left of the bus', 'two green apples', 'sand'.

    Args:
        rng: where the draws come from.
        scene: what is described.
        boxes: of ``scene.things``, in their order.
        canvas: side of the image; the background's region is all of it.
        number: how many phrases; poor scenes offer fewer.
    """
    regions: dict[str, Region] = {}
    for _ in range(_ATTEMPTS * number):
        region = _region(rng, scene, boxes, canvas)
        if region is not None:
            regions.setdefault(region[0], region)
        if len(regions) == number:
            break
    return list(regions.values())


def _region(rng: Random, scene: Scene, boxes: list[PixelBox], canvas: int) -> Region | None:
    form = pick(rng, _FORMS)
    if form == "ground":
        words = choose(rng, (scene.background, f"{scene.background} in the background"), (0.5, 0.5))
        return words, Statement(background=scene.background), (0, 0, canvas, canvas)
    i = rng.randrange(len(boxes))
    thing = scene.things[i]
    what = _description(rng, thing)
    if form == "group":
        peers = [j for j, other in enumerate(scene.things) if other.kind == thing.kind]
        if len(peers) < 2:
            return None
        words = f"{NUMBERS[len(peers)]} {nominal(Description(thing.kind), GENOME, rng, plural=True)}"
        return (
            words,
            Statement((Mention(Description(thing.kind), len(peers)),)),
            _union([boxes[j] for j in peers]),
        )
    words = nominal(what, GENOME, rng)
    style = rng.random()
    words = words if style < 0.5 else with_article(words) if style < 0.7 else f"the {words}"
    if form == "thing":
        if rng.random() < 0.2:
            words = f"{words} {choose(rng, GROUNDS[scene.background], GENOME.grounds)}"
            return words, Statement((Mention(what),), background=scene.background), boxes[i]
        return words, Statement((Mention(what),)), boxes[i]
    j = rng.randrange(len(boxes))
    relations = clear_relations(thing, scene.things[j])  # none to itself
    if not relations:
        return None
    relation, other = rng.choice(relations), _description(rng, scene.things[j])
    words = f"{words} {choose(rng, RELATIONS[relation], GENOME.relations)} the {nominal(other, GENOME, rng)}"
    return (
        words,
        Statement((Mention(what), Mention(other)), ((0, relation, 1),)),
        _union([boxes[i], boxes[j]]),
    )


def _description(rng: Random, thing: Thing) -> Description:
    return Description(
        thing.kind, thing.tint if rng.random() < 0.65 else None, thing.size if rng.random() < 0.2 else None
    )


def _union(boxes: list[PixelBox]) -> PixelBox:
    left, top = min(box[0] for box in boxes), min(box[1] for box in boxes)
    right, bottom = max(box[0] + box[2] for box in boxes), max(box[1] + box[3] for box in boxes)
    return left, top, right - left, bottom - top
