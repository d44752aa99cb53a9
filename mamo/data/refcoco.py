"""RefCOCO+ (UNC): referring expressions, their boxes, and MAttNet's detections as proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings, FormatError, ImageSource, said
from mamo.data.fields import Entry, by_id, document, listing
from mamo.data.plain_pickle import load_plain

SPLITS = ("train", "val", "testA", "testB")
_SIDE = 100_000  # pixels that a photograph's side may have
_REFS = "refcoco+/refs(unc).p"
_MEND = "it comes in refcoco+.zip of the refer repository (lichengunc)"
# MAttNet's own name for the file, and a short one.
_DETECTIONS = ("dets.json", "res101_coco_minus_refer_notime_dets.json")
_DETS_MEND = "MAttNet's detections come with the MAttNet repository (detections/refcoco+_unc)"


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """One example per image and split, a record per sentence; boxes are xyxy, shares of width and height."""
    folder = root / "refcoco+"
    instances = document(folder / "instances.json", _MEND)
    images = by_id(instances.entries("images"), "id")
    boxes = by_id(instances.entries("annotations"), "id")
    detections = _detections(folder, images, findings)
    grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for ref in _refs(root):
        image_id, ref_id, ann_id = ref.integer("image_id"), ref.integer("ref_id"), ref.integer("ann_id")
        if image_id not in images or ann_id not in boxes:
            raise FormatError(f"{folder / 'instances.json'}: lacks the image or box of ref {ref_id}; {_MEND}")
        split, sentences = ref.word("split"), list(ref.entries("sentences"))
        size, box = _size(images[image_id]), boxes[ann_id].box("bbox")
        proposals = detections.get(image_id, [])
        if split != "train" and not proposals:
            findings.note("evaluation expressions without a proposal", str(ref_id), len(sentences))
        if _outside(box, *size):
            findings.note("expressions whose box lies outside the image", str(ref_id), len(sentences))
            continue
        for sentence in sentences:
            text = said(sentence.text("sent"), str(ref_id), findings, "empty expressions")
            if not text:
                continue
            corners = relative_xyxy(box, *size)
            record = {"text": text, "ref_id": ref_id, "box": corners, "proposals": proposals}
            grouped.setdefault((split, image_id), []).append(record)
    for (split, image_id), records in grouped.items():
        image = images[image_id]
        file = image.file(root / "coco/train2014", "file_name")
        yield Example(split, (ImageSource(image.word("file_name"), file),), tuple(records))


def _detections(folder: Path, images: dict[int, Entry], findings: Findings) -> dict[int, list[list[float]]]:
    """The proposals of each image, as shares of its sides."""
    named = [folder / name for name in _DETECTIONS]
    path = next((path for path in named if path.is_file()), named[0])
    found: dict[int, list[list[float]]] = {}
    for detection in listing(path, _DETS_MEND):
        image_id, box = detection.integer("image_id"), detection.box("box")
        if image_id not in images:
            findings.note("proposals of images that instances.json does not list", str(image_id))
        elif _outside(box, *_size(images[image_id])):
            findings.note("proposals outside their image", str(image_id))
        else:
            found.setdefault(image_id, []).append(relative_xyxy(box, *_size(images[image_id])))
    return found


def _size(image: Entry) -> tuple[float, float]:
    width, height = image.number("width"), image.number("height")
    if not (0 < width <= _SIDE and 0 < height <= _SIDE):
        raise image.wrong(f"has the size {width:g} x {height:g}")
    return width, height


def _outside(box: Sequence[float], width: float, height: float) -> bool:
    """Whether a box has nothing in common with its image."""
    x, y, w, h = box
    return x >= width or y >= height or x + w <= 0 or y + h <= 0


def evaluation_images(root: Path) -> set[int]:
    """COCO ids of the images of val, testA and testB."""
    return {ref.integer("image_id") for ref in _refs(root) if ref.word("split") != "train"}


def relative_xyxy(box: Sequence[float], width: float, height: float) -> list[float]:
    """COCO's ``x, y, width, height`` in pixels as ``x0, y0, x1, y1`` in [0, 1]."""
    x, y, w, h = (float(value) for value in box)
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    return [min(max(value, 0.0), 1.0) for value in corners]


def _refs(root: Path) -> list[Entry]:
    path = root / _REFS
    refs = load_plain(path, _MEND)
    if not isinstance(refs, list) or not refs:
        raise FormatError(f"{path}: holds no list of refs; {_MEND}")
    found: list[Entry] = []
    numbers: set[int] = set()
    for number, values in enumerate(refs):
        ref = Entry(values, str(path), f"ref {number}", _MEND)
        lacking = {"ref_id", "ann_id", "image_id", "split", "sentences"} - set(ref.values)
        if lacking or ref.value("split") not in SPLITS:
            raise ref.wrong(f"lacks {sorted(lacking)} or has no split of {SPLITS}")
        ref_id = ref.integer("ref_id")
        if ref_id in numbers:
            raise ref.wrong(f"'ref_id' {ref_id} is given a second time")
        numbers.add(ref_id)
        found.append(ref)
    return found
