"""Generated COCO and Flickr30K in Karpathy's form, with COCO's own caption files beside it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from mamo.data.world.captions import Caption, gallery_captions, training_captions
from mamo.data.world.grammar import COCO, FLICKR, Voice
from mamo.data.world.releases.publisher import Publisher
from mamo.data.world.scene import Scene, draw_scene, stream

# The first image id of every set: what one set is called does not depend on the size of another.
COCO_IDS = {
    "train": 100_001, "restval": 200_001, "val": 300_001, "test": 400_001, "test2015": 500_001,
    "refcoco_val": 600_001, "refcoco_testA": 700_001, "refcoco_testB": 800_001,
}  # fmt: skip
_FLICKR_IDS = {"train": 1_000_000_000, "val": 2_000_000_000, "test": 3_000_000_000}


def coco_name(folder: str, image_id: int) -> str:
    """Return the file name of an image in ``coco/FOLDER``."""
    return f"COCO_{folder}_{image_id:012d}.jpg"


def write_coco(publisher: Publisher) -> dict[str, list[Scene]]:
    """Write ``coco/`` but for the images of VQA's test set and of RefCOCO+; the scenes by Karpathy's splits."""
    sizes = publisher.spec.coco
    numbers = {"train": sizes.train, "restval": sizes.restval, "val": sizes.val, "test": sizes.test}
    scenes, captions = {}, {}
    for split, number in numbers.items():
        scenes[split], captions[split] = _captioned(publisher, "coco", split, number, COCO)

    def locate(split: str, place: int) -> dict[str, Any]:
        folder, image_id = "train2014" if split == "train" else "val2014", COCO_IDS[split] + place
        return {"filepath": folder, "filename": coco_name(folder, image_id), "cocoid": image_id}

    entries = _entries(scenes, captions, locate, ".")
    for entry, scene in zip(entries, (scene for split in numbers for scene in scenes[split]), strict=True):
        publisher.photograph(scene, f"coco/{entry['filepath']}/{entry['filename']}", "coco", entry["split"])
    publisher.write_json("coco/dataset_coco.json", {"dataset": "coco", "images": entries})
    for folder in ("train2014", "val2014"):
        _write_captions(publisher, folder, [entry for entry in entries if entry["filepath"] == folder])
    return scenes


def write_flickr30k(publisher: Publisher) -> None:
    """Write ``flickr30k/``."""
    sizes = publisher.spec.flickr30k
    numbers = {"train": sizes.train, "val": sizes.val, "test": sizes.test}
    scenes, captions = {}, {}
    for split, number in numbers.items():
        scenes[split], captions[split] = _captioned(publisher, "flickr30k", split, number, FLICKR)
    entries = _entries(
        scenes, captions, lambda split, place: {"filename": f"{_FLICKR_IDS[split] + 7919 * place}.jpg"}, " ."
    )
    for entry, scene in zip(entries, (scene for split in numbers for scene in scenes[split]), strict=True):
        publisher.photograph(
            scene, f"flickr30k/flickr30k-images/{entry['filename']}", "flickr30k", entry["split"]
        )
    publisher.write_json("flickr30k/dataset_flickr30k.json", {"dataset": "flickr30k", "images": entries})


def _captioned(
    publisher: Publisher, dataset: str, split: str, number: int, voice: Voice
) -> tuple[list[Scene], list[list[Caption]]]:
    """Draw scenes of a split and their captions; val and test are galleries whose captions are true of one image only."""
    spec, name = publisher.spec, f"{dataset}/{split}"
    if split in ("val", "test"):
        scenes = publisher.scenes(name, number, spec.gallery_twins if spec.twins else 0.0)
        rng = stream(spec.seed, name, "captions")

        def draw(rng: Random, place: int) -> Scene:
            return draw_scene(rng, spec.kinds, spec.grid, spec.objects)

        return gallery_captions(rng, scenes, voice, draw)
    scenes = publisher.scenes(name, number, float(spec.twins))
    captions = []
    for place, scene in enumerate(scenes):
        other = place ^ 1
        twin = scenes[other] if spec.twins and other < number else None
        captions.append(training_captions(stream(spec.seed, name, "captions", place), scene, voice, twin))
    return scenes, captions


def _entries(
    scenes: dict[str, list[Scene]],
    captions: dict[str, list[list[Caption]]],
    locate: Callable[[str, int], dict[str, Any]],
    stop: str,
) -> list[dict[str, Any]]:
    """Return Karpathy's ``images``, numbered through all splits."""
    entries: list[dict[str, Any]] = []
    sentid = 0
    for split in scenes:
        for place, texts in enumerate(captions[split]):
            sentences = []
            for text, _ in texts:
                tokens = text.replace(",", "").split()
                raw = f"{text[0].upper()}{text[1:]}{stop}"
                sentences.append({"raw": raw, "tokens": tokens, "sentid": sentid, "imgid": len(entries)})
                sentid += 1
            identity = {"imgid": len(entries), "split": split, "sentids": [s["sentid"] for s in sentences]}
            entries.append(locate(split, place) | identity | {"sentences": sentences})
    return entries


def _write_captions(publisher: Publisher, folder: str, entries: list[dict[str, Any]]) -> None:
    """Write COCO's own caption file of a folder."""
    canvas = publisher.spec.canvas
    images = [
        {"id": e["cocoid"], "file_name": e["filename"], "width": canvas, "height": canvas} for e in entries
    ]
    annotations = [
        {"id": s["sentid"], "image_id": entry["cocoid"], "caption": s["raw"]}
        for entry in entries
        for s in entry["sentences"]
    ]
    content = {
        "info": {"description": "generated"},
        "licenses": [],
        "images": images,
        "annotations": annotations,
    }
    publisher.write_json(f"coco/annotations/captions_{folder}.json", content)
