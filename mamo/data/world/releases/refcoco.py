"""Generated RefCOCO+: expressions about images of COCO's train2014, objects with boxes, and a detector's proposals."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from typing import Any

from mamo.data.world.kinds import BY_NAME, KINDS
from mamo.data.world.referring import detections, expressions
from mamo.data.world.releases.karpathy import COCO_IDS, coco_name
from mamo.data.world.releases.publisher import Publisher
from mamo.data.world.scene import Scene, stream

_ECHO = 0.7  # more look-alikes than elsewhere: there must be something to tell apart
_NAMED = 2  # objects of an image that expressions name, at most
_CATEGORIES = {kind.name: number for number, kind in enumerate(KINDS, 1)}


def write_refcoco_plus(publisher: Publisher, coco_train: list[Scene]) -> None:
    """Write ``refcoco+/`` and the images of its evaluation splits, which Karpathy's splits of COCO do not contain.

    Args:
        publisher: where to write.
        coco_train: the scenes of COCO's training images, some of which become RefCOCO+'s.
    """
    spec = publisher.spec
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    refs: list[dict[str, Any]] = []
    detected: list[dict[str, Any]] = []
    for split, image_id, scene in _images(publisher, coco_train):
        rng = stream(spec.seed, "refcoco_plus", image_id)
        name = coco_name("train2014", image_id)
        images.append({"id": image_id, "file_name": name, "width": spec.canvas, "height": spec.canvas})
        boxes = publisher.boxes(scene)
        categories = [_CATEGORIES[thing.kind] for thing in scene.things]
        for place, (box, category) in enumerate(zip(boxes, categories, strict=True)):
            identity = {"id": 10 * image_id + place, "image_id": image_id, "category_id": category}
            annotations.append(
                identity | {"bbox": list(box), "area": box[2] * box[3], "iscrowd": 0, "segmentation": []}
            )
        named = 0
        for place in rng.sample(range(len(boxes)), len(boxes)):
            if named == _NAMED or not _eligible(split, scene, place):
                continue
            texts = [text for text, _ in expressions(rng, scene, scene.things[place])]
            if texts:
                identity = {
                    "ann_id": 10 * image_id + place,
                    "image_id": image_id,
                    "category_id": categories[place],
                }
                refs.append(_ref(identity | {"split": split, "file_name": name}, texts))
                named += 1
        for position, box, score in detections(rng, boxes, spec.canvas):
            category = rng.randint(1, spec.kinds) if position is None else categories[position]
            number = len(detected)
            identity = {"det_id": number, "h5_id": number, "image_id": image_id, "category_id": category}
            detected.append(
                identity | {"category_name": KINDS[category - 1].name, "box": list(box), "score": score}
            )
    kinds = [
        {"id": _CATEGORIES[k.name], "name": k.name, "supercategory": k.category} for k in KINDS[: spec.kinds]
    ]
    content = {
        "info": {"description": "generated"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
    }
    publisher.write_json("refcoco+/instances.json", content | {"categories": kinds})
    publisher.write_json("refcoco+/dets.json", detected)
    # Through JSON, since a pickle's bytes depend on which equal strings are one object.
    publisher.path("refcoco+/refs(unc).p").write_bytes(
        pickle.dumps(json.loads(json.dumps(_numbered(refs))), protocol=2)
    )


def _images(publisher: Publisher, coco_train: list[Scene]) -> Iterator[tuple[str, int, Scene]]:
    """Yield split, COCO id and scene of every image with at least one object that can be named."""
    sizes = publisher.spec.refcoco_plus
    shared = [
        (image_id, scene)
        for image_id, scene in enumerate(coco_train, COCO_IDS["train"])
        if _nameable("train", scene)
    ]
    for image_id, scene in shared[: sizes.train]:
        yield "train", image_id, scene
    for split, number in {"val": sizes.val, "testA": sizes.testA, "testB": sizes.testB}.items():
        # Scenes are drawn in abundance: some have nothing that the split may name.
        scenes = publisher.scenes(f"refcoco_plus/{split}", 4 * number + 16, echo=_ECHO, least=2)
        fit = [scene for scene in scenes if _nameable(split, scene)][:number]
        for image_id, scene in enumerate(fit, COCO_IDS[f"refcoco_{split}"]):
            file = f"coco/train2014/{coco_name('train2014', image_id)}"
            publisher.photograph(scene, file, "refcoco_plus", split)
            yield split, image_id, scene


def _eligible(split: str, scene: Scene, place: int) -> bool:
    """Choose what a split names: testA animals (in the real set: people), testB other things, the rest anything."""
    animal = BY_NAME[scene.things[place].kind].category == "animal"
    return {"testA": animal, "testB": not animal}.get(split, True)


def _nameable(split: str, scene: Scene) -> bool:
    """Check that there are two objects or more, and that one that the split may name is unique."""
    looks = [thing.look for thing in scene.things]
    return len(looks) > 1 and any(
        _eligible(split, scene, i) and looks.count(look) == 1 for i, look in enumerate(looks)
    )


def _ref(identity: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    return identity | {"sentences": [{"sent": text, "raw": text, "tokens": text.split()} for text in texts]}


def _numbered(refs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Give every ref and every sentence its number."""
    sent_id = 0
    for ref_id, ref in enumerate(refs):
        for sentence in ref["sentences"]:
            sentence["sent_id"] = sent_id
            sent_id += 1
        ref |= {"ref_id": ref_id, "sent_ids": [sentence["sent_id"] for sentence in ref["sentences"]]}
    return refs
