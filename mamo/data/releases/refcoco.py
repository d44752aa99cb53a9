"""RefCOCO+ (UNC): referring expressions, their boxes, and MAttNet's detections as proposals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mamo.data.examples import Example, Findings, FormatError, ImageSource, Keys, said
from mamo.data.releases.fields import Box, File, Number, Records, Whole, by_id, listing, lists
from mamo.data.releases.plain_pickle import load_plain

_SIDE = 100_000  # pixels that a photograph's side may have
_THIN = 1e-6  # of the image's side; what is thinner has no area in float32
# Upper limit for a release in which short files repeat the same long list. RefCOCO+ has 141,564 expressions.
MAX_EXPRESSIONS = 500_000
MAX_PROPOSALS = 5_000_000  # over all expressions
_REFS = "refcoco+/refs(unc).p"
_ORIGIN = "it comes in refcoco+.zip of the refer repository (lichengunc)"
# MAttNet's own name for the file, and a short one.
_DETECTIONS = ("dets.json", "res101_coco_minus_refer_notime_dets.json")
_DETS_ORIGIN = "MAttNet's detections come with the MAttNet repository (detections/refcoco+_unc)"

Side = Annotated[Number, Field(gt=0, le=_SIDE)]


@dataclass(slots=True)
class Image:
    """An image of ``instances.json``."""

    id: Whole
    file_name: File
    width: Side
    height: Side


@dataclass(slots=True)
class Annotation:
    """An object of ``instances.json``."""

    id: Whole
    bbox: Box
    image_id: Whole | None = None


@dataclass(slots=True)
class Sentence:
    """An expression."""

    sent: str | None


@dataclass(slots=True)
class Ref:
    """An object with its expressions."""

    ref_id: Whole
    ann_id: Whole
    image_id: Whole
    split: Literal["train", "val", "testA", "testB"]
    sentences: list[Sentence]


@dataclass(slots=True)
class Detection:
    """A box that MAttNet proposes."""

    image_id: Whole
    box: Box


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """One example per image and split, a record per sentence; boxes are xyxy, shares of width and height."""
    folder = root / "refcoco+"
    annotated = lists(folder / "instances.json", _ORIGIN, images=Image, annotations=Annotation)
    images: dict[int, Image] = by_id(annotated[0], "id")
    boxes: dict[int, Annotation] = by_id(annotated[1], "id")
    detections = _detections(folder, images, findings)
    grouped: dict[tuple[str, int], list[dict[str, Any]]] = {}
    proposed = 0
    for ref in _refs(root):
        if ref.image_id not in images or ref.ann_id not in boxes:
            raise FormatError(
                f"{folder / 'instances.json'}: lacks the image or box of ref {ref.ref_id}; {_ORIGIN}"
            )
        name, expressions = str(ref.ref_id), len(ref.sentences)
        image, proposals = images[ref.image_id], detections.get(ref.image_id, [])
        if ref.split != "train" and not proposals:
            findings.note("evaluation expressions without a proposal", name, expressions)
        box = _box(boxes[ref.ann_id], image, name, findings, expressions)
        if box is None:
            continue
        proposed += expressions * len(proposals)
        if proposed > MAX_PROPOSALS:
            raise FormatError(
                f"{root / _REFS}: more than {MAX_PROPOSALS:,} proposals over all expressions; {_ORIGIN}"
            )
        for sentence in ref.sentences:
            text = said(sentence.sent, name, findings, "empty expressions")
            if not text:
                continue
            record = {"text": text, "ref_id": ref.ref_id, "box": box, "proposals": proposals}
            grouped.setdefault((ref.split, image.id), []).append(record)
    keys = Keys()
    for (split, image_id), records in grouped.items():
        image = images[image_id]
        file = root / "coco/train2014" / image.file_name
        source = ImageSource(keys.of(image.file_name, file), file, (round(image.width), round(image.height)))
        yield Example(split, (source,), tuple(records))


def _box(
    annotation: Annotation, image: Image, name: str, findings: Findings, expressions: int
) -> list[float] | None:
    """Convert a ref's box to shares of its image's sides; None if it is unusable, which is then noted in ``findings``."""
    corners, reason = relative_xyxy(annotation.bbox, image.width, image.height), ""
    if annotation.image_id not in (None, image.id):
        reason = "expressions whose box is on another image"
    elif _outside(annotation.bbox, image):
        reason = "expressions whose box lies outside the image"
    elif _flat(corners):
        reason = "expressions whose box has no area"
    if reason:
        findings.note(reason, name, expressions)
    return None if reason else corners


def _detections(folder: Path, images: dict[int, Image], findings: Findings) -> dict[int, list[list[float]]]:
    """The proposals of each image, as shares of its sides."""
    named = [folder / name for name in _DETECTIONS]
    path = next((path for path in named if path.is_file()), named[0])
    found: dict[int, list[list[float]]] = {}
    for detection in listing(path, Detection, _DETS_ORIGIN):
        image = images.get(detection.image_id)
        if image is None:
            findings.note("proposals of images that instances.json does not list", str(detection.image_id))
            continue
        corners = relative_xyxy(detection.box, image.width, image.height)
        if _outside(detection.box, image):
            findings.note("proposals outside their image", str(image.id))
        elif _flat(corners):
            findings.note("proposals without area", str(image.id))
        else:
            found.setdefault(image.id, []).append(corners)
    return found


def _outside(box: Sequence[float], image: Image) -> bool:
    """Check whether a box is completely outside its image."""
    x, y, w, h = box
    return x >= image.width or y >= image.height or x + w <= 0 or y + h <= 0


def _flat(corners: Sequence[float]) -> bool:
    """Check whether a box has no area inside its image."""
    x0, y0, x1, y1 = corners
    return x1 - x0 < _THIN or y1 - y0 < _THIN


def evaluation_images(root: Path) -> set[int]:
    """COCO ids of the images of val, testA and testB."""
    return {ref.image_id for ref in _refs(root) if ref.split != "train"}


def relative_xyxy(box: Sequence[float], width: float, height: float) -> list[float]:
    """COCO's ``x, y, width, height`` in pixels as ``x0, y0, x1, y1`` in [0, 1]."""
    x, y, w, h = box
    corners = (x / width, y / height, (x + w) / width, (y + h) / height)
    return [min(max(value, 0.0), 1.0) for value in corners]


def _refs(root: Path) -> list[Ref]:
    path = root / _REFS
    values = load_plain(path, _ORIGIN)
    if not isinstance(values, list) or not values:
        raise FormatError(f"{path}: holds no list of refs; {_ORIGIN}")
    refs = list(by_id(Records(values, Ref, path, "ref {}", _ORIGIN), "ref_id").values())
    if sum(len(ref.sentences) for ref in refs) > MAX_EXPRESSIONS:
        raise FormatError(f"{path}: holds more than {MAX_EXPRESSIONS:,} expressions; {_ORIGIN}")
    return refs
