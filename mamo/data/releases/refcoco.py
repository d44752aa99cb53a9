"""RefCOCO+ (UNC): referring expressions, their boxes, and MAttNet's detections as proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings, FormatError, ImageSource, Keys, said
from mamo.data.releases.fields import Entry, by_id, document, listing
from mamo.data.releases.plain_pickle import load_plain

SPLITS = ("train", "val", "testA", "testB")
_SIDE = 100_000  # pixels that a photograph's side may have
_THIN = 1e-6  # of the image's side; what is thinner has no area in float32
# Upper limit for a release in which short files repeat the same long list. RefCOCO+ has 141,564 expressions.
MAX_EXPRESSIONS = 500_000
MAX_PROPOSALS = 5_000_000  # over all expressions
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
    proposed = 0
    for ref in _refs(root):
        image_id, ref_id, ann_id = ref.integer("image_id"), ref.integer("ref_id"), ref.integer("ann_id")
        if image_id not in images or ann_id not in boxes:
            raise FormatError(f"{folder / 'instances.json'}: lacks the image or box of ref {ref_id}; {_MEND}")
        split, sentences = ref.word("split"), list(ref.entries("sentences"))
        proposals = detections.get(image_id, [])
        if split != "train" and not proposals:
            findings.note("evaluation expressions without a proposal", str(ref_id), len(sentences))
        box = _box(boxes[ann_id], images[image_id], str(ref_id), findings, len(sentences))
        if box is None:
            continue
        proposed += len(sentences) * len(proposals)
        if proposed > MAX_PROPOSALS:
            raise ref.wrong(f"more than {MAX_PROPOSALS:,} proposals over all expressions so far")
        for sentence in sentences:
            text = said(sentence.text("sent"), str(ref_id), findings, "empty expressions")
            if not text:
                continue
            record = {"text": text, "ref_id": ref_id, "box": box, "proposals": proposals}
            grouped.setdefault((split, image_id), []).append(record)
    keys = Keys()
    for (split, image_id), records in grouped.items():
        image = images[image_id]
        file = image.file(root / "coco/train2014", "file_name")
        width, height = _size(image)
        source = ImageSource(keys.of(image.word("file_name"), file), file, (round(width), round(height)))
        yield Example(split, (source,), tuple(records))


def _box(
    annotation: Entry, image: Entry, name: str, findings: Findings, expressions: int
) -> list[float] | None:
    """Convert a ref's box to shares of its image's sides; None if it is unusable, which is then noted in ``findings``."""
    size, box = _size(image), annotation.box("bbox")
    corners, reason = relative_xyxy(box, *size), ""
    if "image_id" in annotation and annotation.integer("image_id") != image.integer("id"):
        reason = "expressions whose box is on another image"
    elif _outside(box, *size):
        reason = "expressions whose box lies outside the image"
    elif _flat(corners):
        reason = "expressions whose box has no area"
    if reason:
        findings.note(reason, name, expressions)
    return None if reason else corners


def _detections(folder: Path, images: dict[int, Entry], findings: Findings) -> dict[int, list[list[float]]]:
    """The proposals of each image, as shares of its sides."""
    named = [folder / name for name in _DETECTIONS]
    path = next((path for path in named if path.is_file()), named[0])
    found: dict[int, list[list[float]]] = {}
    for detection in listing(path, _DETS_MEND):
        image_id, box = detection.integer("image_id"), detection.box("box")
        if image_id not in images:
            findings.note("proposals of images that instances.json does not list", str(image_id))
            continue
        size = _size(images[image_id])
        corners = relative_xyxy(box, *size)
        if _outside(box, *size):
            findings.note("proposals outside their image", str(image_id))
        elif _flat(corners):
            findings.note("proposals without area", str(image_id))
        else:
            found.setdefault(image_id, []).append(corners)
    return found


def _size(image: Entry) -> tuple[float, float]:
    width, height = image.number("width"), image.number("height")
    if not (0 < width <= _SIDE and 0 < height <= _SIDE):
        raise image.wrong(f"has the size {width:g} x {height:g}")
    return width, height


def _outside(box: Sequence[float], width: float, height: float) -> bool:
    """Check whether a box is completely outside its image."""
    x, y, w, h = box
    return x >= width or y >= height or x + w <= 0 or y + h <= 0


def _flat(corners: Sequence[float]) -> bool:
    """Check whether a box has no area inside its image."""
    x0, y0, x1, y1 = corners
    return x1 - x0 < _THIN or y1 - y0 < _THIN


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
    expressions = 0
    for number, values in enumerate(refs):
        ref = Entry(values, str(path), f"ref {number}", _MEND)
        for name in ("ref_id", "ann_id", "image_id", "split", "sentences"):
            ref.value(name)
        if ref.word("split") not in SPLITS:
            raise ref.wrong(f"has split '{ref.word('split')[:60]}'; known are {', '.join(SPLITS)}")
        expressions += len(ref.list("sentences"))
        if expressions > MAX_EXPRESSIONS:
            raise ref.wrong(f"more than {MAX_EXPRESSIONS:,} expressions so far")
        ref_id = ref.integer("ref_id")
        if ref_id in numbers:
            raise ref.wrong(f"'ref_id' {ref_id} is given a second time")
        numbers.add(ref_id)
        found.append(ref)
    return found
