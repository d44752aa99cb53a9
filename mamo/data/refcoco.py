"""RefCOCO+ (UNC): referring expressions, their boxes, and MAttNet's detections as proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings, FormatError, ImageSource, clean, read_json
from mamo.data.plain_pickle import load_plain

SPLITS = ("train", "val", "testA", "testB")
_REFS = "refcoco+/refs(unc).p"
_MEND = "it comes in refcoco+.zip of the refer repository (lichengunc)"
# MAttNet's own name for the file, and a short one.
_DETECTIONS = ("dets.json", "res101_coco_minus_refer_notime_dets.json")
_DETS_MEND = "MAttNet's detections come with the MAttNet repository (detections/refcoco+_unc)"


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """One example per image and split, a record per sentence; boxes are xyxy, shares of width and height."""
    folder = root / "refcoco+"
    instances = read_json(folder / "instances.json", _MEND)
    images = {int(image["id"]): image for image in instances["images"]}
    boxes = {int(annotation["id"]): annotation["bbox"] for annotation in instances["annotations"]}
    detections: dict[int, list[Sequence[float]]] = {}
    named = [folder / name for name in _DETECTIONS]
    path = next((path for path in named if path.is_file()), named[0])
    for detection in read_json(path, _DETS_MEND):
        detections.setdefault(int(detection["image_id"]), []).append(detection["box"])
    grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for ref in _refs(root):
        image_id, ref_id = int(ref["image_id"]), int(ref["ref_id"])
        if image_id not in images or int(ref["ann_id"]) not in boxes:
            raise FormatError(f"{folder / 'instances.json'}: lacks the image or box of ref {ref_id}; {_MEND}")
        image = images[image_id]
        size = float(image["width"]), float(image["height"])
        proposals = [relative_xyxy(box, *size) for box in detections.get(image_id, [])]
        if ref["split"] != "train" and not proposals:
            findings.note("evaluation expressions without a proposal", str(ref_id), len(ref["sentences"]))
        for sentence in ref["sentences"]:
            text = clean(sentence["sent"])
            if not text:
                findings.note("empty expressions", str(ref_id))
                continue
            box = relative_xyxy(boxes[int(ref["ann_id"])], *size)
            record = {"text": text, "ref_id": ref_id, "box": box, "proposals": proposals}
            grouped.setdefault((ref["split"], image_id), []).append(record)
    for (split, image_id), records in grouped.items():
        name = images[image_id]["file_name"]
        yield Example(split, (ImageSource(name, root / "coco/train2014" / name),), tuple(records))


def evaluation_images(root: Path) -> set[int]:
    """COCO ids of the images of val, testA and testB."""
    return {int(ref["image_id"]) for ref in _refs(root) if ref["split"] != "train"}


def relative_xyxy(box: Sequence[float], width: float, height: float) -> list[float]:
    """COCO's ``x, y, width, height`` in pixels as ``x0, y0, x1, y1`` in [0, 1]."""
    x, y, w, h = (float(value) for value in box)
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    return [min(max(value, 0.0), 1.0) for value in corners]


def _refs(root: Path) -> list[dict[str, Any]]:
    path = root / _REFS
    refs = load_plain(path, _MEND)
    if not isinstance(refs, list):
        raise FormatError(f"{path}: holds no list; {_MEND}")
    for number, ref in enumerate(refs):
        lacking = {"ref_id", "ann_id", "image_id", "split", "sentences"} - set(ref)
        if lacking or ref["split"] not in SPLITS:
            raise FormatError(
                f"{path}: ref {number} lacks {sorted(lacking)} or has no split of {SPLITS}; {_MEND}"
            )
    return refs
