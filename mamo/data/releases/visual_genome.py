"""Visual Genome: region descriptions as captions of the image, and question-answer pairs for VQA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field

from mamo.data.examples import Example, Findings, ImageSource, said
from mamo.data.releases import refcoco
from mamo.data.releases.fields import Length, Whole, by_id, listing
from mamo.data.releases.karpathy import coco_ids
from mamo.data.vqa_normalise import normalise_answer

# 5.4M region descriptions became the 769k texts of Table 10 by ALBEF's filters: no image of an evaluation
# set, no sentence twice, no small regions. Its least region size is not in its code; the eight largest
# regions give the same number of texts.
REGIONS = 8
_ORIGIN = "it comes from the Visual Genome download page (version 1.2 or later)"


@dataclass(slots=True, kw_only=True)
class Region:
    """A region of an image and what is said of it."""

    phrase: str | None
    width: Length
    height: Length
    region_id: Any = None
    image_id: Whole | None = None


@dataclass(slots=True, kw_only=True)
class Answer:
    """A question about an image and its answer."""

    qa_id: Whole
    question: str | None
    answer: str | None
    image_id: Whole | None = None


@dataclass(slots=True, kw_only=True)
class ImageRegions:
    """An image of ``region_descriptions.json``; releases before 1.4 give its number only in its regions."""

    texts: Annotated[list[Region], Field(alias="regions")]
    id: Whole | None = None


@dataclass(slots=True, kw_only=True)
class ImageAnswers:
    """An image of ``question_answers.json``; the same holds for its number."""

    texts: Annotated[list[Answer], Field(alias="qas")]
    id: Whole | None = None


@dataclass(slots=True)
class Image:
    """An image of ``image_data.json``; ``coco_id`` is its number in COCO, where it is from there."""

    image_id: Whole
    coco_id: Whole | None = None


Texts = TypeVar("Texts", ImageRegions, ImageAnswers)


def read(root: Path, findings: Findings, regions: int | None = REGIONS) -> Iterator[Example]:
    """Read ``visual_genome/region_descriptions.json``: one training example per image.

    Images of COCO's Karpathy val and test splits and of RefCOCO+'s evaluation splits are left out.

    Args:
        regions: captions kept per image: those of the largest regions, each sentence once; ``None`` keeps
            all.
    """
    folder = root / "visual_genome"
    held_out = _held_out(root, ("val", "test"), grounding=True)
    for image_id, image in _by_image(folder / "region_descriptions.json", ImageRegions, findings):
        distinct: dict[str, dict[str, Any]] = {}
        for region in sorted(image.texts, key=lambda region: -region.width * region.height):
            name = f"region {region.region_id}"
            if region.image_id not in (None, image_id):
                findings.note("regions of another image", name)
                continue
            phrase = said(region.phrase, name, findings, "empty captions")
            if not phrase:
                continue
            if phrase.lower() in distinct:
                findings.note("sentences given twice for an image")
            elif regions is not None and len(distinct) >= regions:
                findings.note("descriptions of smaller regions")
            else:
                distinct[phrase.lower()] = {"text": phrase}
        yield from _example(folder, held_out, image_id, tuple(distinct.values()), findings)


def read_qa(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``visual_genome/question_answers.json``: VQA records with one normalised answer of weight 1.

    Images that the ``vqa2`` data set holds out for validation (Karpathy's test split) are left out.
    """
    folder = root / "visual_genome"
    held_out = _held_out(root, ("test",), grounding=False)
    asked: set[int] = set()
    for image_id, image in _by_image(folder / "question_answers.json", ImageAnswers, findings):
        records = []
        for qa in image.texts:
            number = qa.qa_id
            name, empty = f"question {number}", "questions without text or answer"
            if qa.image_id not in (None, image_id):
                findings.note("questions of another image", name)
                continue
            question = said(qa.question, name, findings, empty)
            if not question or not said(qa.answer, name, findings, empty):
                continue
            answer = normalise_answer((qa.answer or "").encode("utf-8", "replace").decode("utf-8"))
            if not answer:
                findings.note(empty, name)
                continue
            if number in asked:
                findings.note("questions listed twice", name)
                continue
            asked.add(number)
            records.append(
                {
                    "question_id": number,
                    "question": question,
                    "answers": [answer],
                    "weights": [1.0],
                    "type": "visual genome",
                }
            )
        yield from _example(folder, held_out, image_id, tuple(records), findings)


def _example(
    folder: Path,
    images: dict[int, bool],
    image_id: int,
    records: tuple[dict[str, Any], ...],
    findings: Findings,
) -> Iterator[Example]:
    if image_id not in images:
        findings.note("images that image_data.json does not list", str(image_id))
    elif images[image_id]:
        findings.note("images of evaluation sets", str(image_id))
    elif not records:
        findings.note("images without a text", str(image_id))
    else:
        yield Example("train", (ImageSource(str(image_id), _locate(folder, image_id)),), records)


def _locate(folder: Path, image_id: int) -> Path:
    """Find an image: the release is two archives, and only looking tells which one holds it."""
    first = folder / "VG_100K" / f"{image_id}.jpg"
    second = folder / "VG_100K_2" / f"{image_id}.jpg"
    return second if not first.exists() and second.exists() else first


def _by_image(path: Path, kind: type[Texts], findings: Findings) -> Iterator[tuple[int, Texts]]:
    """The number of each image, and its entry."""
    seen: set[int] = set()
    entries = listing(path, kind, _ORIGIN)
    for entry in entries:
        image_id = entry.id
        if image_id is None and entry.texts:
            image_id = entry.texts[0].image_id
        if image_id is None:
            raise entries.wrong("lacks 'id'")
        if image_id in seen:
            findings.note("images listed twice", str(image_id))
            continue
        seen.add(image_id)
        yield image_id, entry


def _held_out(root: Path, splits: tuple[str, ...], grounding: bool) -> dict[int, bool]:
    """Image id -> whether it is an evaluation image, for all images of ``image_data.json``."""
    listed = by_id(listing(root / "visual_genome/image_data.json", Image, _ORIGIN), "image_id")
    images = {image_id: image.coco_id for image_id, image in listed.items()}
    if all(coco is None for coco in images.values()):
        return dict.fromkeys(images, False)
    # Half of Visual Genome is COCO, so the splits are needed to keep test images out of training.
    barred = coco_ids(root / "coco/dataset_coco.json", splits)
    if grounding and (root / "refcoco+").is_dir():
        barred |= refcoco.evaluation_images(root)
    return {image: coco is not None and coco in barred for image, coco in images.items()}
