"""Visual Genome: region descriptions as captions of the image, and question-answer pairs for VQA."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mamo.data import refcoco
from mamo.data.examples import Example, Findings, FormatError, ImageSource, clean, read_json
from mamo.data.karpathy import coco_ids
from mamo.data.vqa_normalise import normalise_answer

# 5.4M region descriptions became the 769k texts of Table 10 by ALBEF's filters: no image of an evaluation
# set, no sentence twice, no small regions. Its least region size is not in its code; the eight largest
# regions give the same number of texts.
REGIONS = 8
_MEND = "it comes from the Visual Genome download page (version 1.2 or later)"


def read(root: Path, findings: Findings, regions: int | None = REGIONS) -> Iterator[Example]:
    """Read ``visual_genome/region_descriptions.json``: one training example per image.

    Images of COCO's Karpathy val and test splits and of RefCOCO+'s evaluation splits are left out.

    Args:
        regions: captions kept per image: those of the largest regions, each sentence once; ``None`` keeps
            all.
    """
    folder = root / "visual_genome"
    held_out = _held_out(root, ("val", "test"), findings, grounding=True)
    for entry in _by_image(folder / "region_descriptions.json", "regions"):
        distinct: dict[str, dict[str, Any]] = {}
        for region in sorted(entry["regions"], key=lambda r: -float(r["width"]) * float(r["height"])):
            phrase = clean(region["phrase"])
            if not phrase:
                findings.note("empty captions", f"region {region.get('region_id')}")
            elif phrase.lower() in distinct:
                findings.note("sentences given twice for an image")
            elif regions is not None and len(distinct) >= regions:
                findings.note("descriptions of smaller regions")
            else:
                distinct[phrase.lower()] = {"text": phrase}
        yield from _example(folder, held_out, entry, tuple(distinct.values()), findings)


def read_qa(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``visual_genome/question_answers.json``: VQA records with one normalised answer of weight 1.

    Images that the ``vqa2`` data set holds out for validation (Karpathy's test split) are left out.
    """
    folder = root / "visual_genome"
    held_out = _held_out(root, ("test",), findings, grounding=False)
    for entry in _by_image(folder / "question_answers.json", "qas"):
        records = []
        for qa in entry["qas"]:
            question, answer = clean(qa["question"]), normalise_answer(qa["answer"])
            if not question or not answer:
                findings.note("questions without text or answer", f"question {qa['qa_id']}")
                continue
            records.append(
                {
                    "question_id": int(qa["qa_id"]),
                    "question": question,
                    "answers": [answer],
                    "weights": [1.0],
                    "type": "visual genome",
                }
            )
        yield from _example(folder, held_out, entry, tuple(records), findings)


def _example(
    folder: Path,
    images: dict[int, bool],
    entry: dict[str, Any],
    records: tuple[dict[str, Any], ...],
    findings: Findings,
) -> Iterator[Example]:
    image_id = int(entry["id"])
    if image_id not in images:
        findings.note("images that image_data.json does not list", str(image_id))
    elif images[image_id]:
        findings.note("images of evaluation sets", str(image_id))
    elif not records:
        findings.note("images without a text", str(image_id))
    else:
        yield Example("train", (ImageSource(str(image_id), _locate(folder, image_id)),), records)


def _locate(folder: Path, image_id: int) -> Path:
    """The release is two archives; which one holds an image is only known by looking."""
    first = folder / "VG_100K" / f"{image_id}.jpg"
    second = folder / "VG_100K_2" / f"{image_id}.jpg"
    return second if not first.exists() and second.exists() else first


def _by_image(path: Path, inner: str) -> Iterable[dict[str, Any]]:
    entries = read_json(path, _MEND)
    for number, entry in enumerate(entries):
        if "id" not in entry and entry.get(inner):
            entry["id"] = entry[inner][0][
                "image_id"
            ]  # releases before 1.4 name the image only in its regions
        if inner not in entry or "id" not in entry:
            raise FormatError(f"{path}: entry {number} lacks 'id' or '{inner}'; {_MEND}")
    return entries


def _held_out(root: Path, splits: tuple[str, ...], findings: Findings, grounding: bool) -> dict[int, bool]:
    """Image id -> whether it is an evaluation image, for all images of ``image_data.json``."""
    images = {
        int(entry["image_id"]): entry.get("coco_id")
        for entry in read_json(root / "visual_genome/image_data.json", _MEND)
    }
    if all(coco is None for coco in images.values()):
        return dict.fromkeys(images, False)
    # Half of Visual Genome is COCO, so the splits are needed to keep test images out of training.
    barred = coco_ids(root / "coco/dataset_coco.json", splits)
    if grounding and (root / "refcoco+").is_dir():
        barred |= refcoco.evaluation_images(root)
    return {image: coco is not None and int(coco) in barred for image, coco in images.items()}
