"""VQA v2: train and val for training, a held-out part of val for validation, test-dev for testing, the rest for the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamo.data import archives, candidates
from mamo.data.examples import Example, Findings, FormatError, ImageSource, clean, read_json
from mamo.data.karpathy import coco_ids
from mamo.data.vqa_normalise import soft_answers

_MEND = "it comes from the VQA v2 download page (visualqa.org)"
TEST = "test-dev2015"
ALL = "test2015"
REST = "test_rest"  # test questions beside test-dev's: the server wants all of them for test-std


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """One example per image with all its questions.

    Splits: ``train`` is train2014 and val2014 without the images of Karpathy's test split, which are ``val``; ``test`` is
        test-dev, whose answers are empty where no annotations are at hand (they are not public); ``test_rest``, there only
        where the release has the file of all test questions, is what test-std needs beside it.
    """
    held_out = coco_ids(root / "coco/dataset_coco.json", ("test",))
    tested: set[int] = set()
    for part in ("train2014", "val2014", TEST, ALL):
        if part == ALL and not _has_all_questions(root):
            continue
        folder = "test2015" if part in (TEST, ALL) else part
        annotations = _annotations(root, part)
        by_image: dict[int, list[dict[str, Any]]] = {}
        asked = set()
        for question in _questions(root, part):
            asked.add(question["question_id"])
            if part == TEST:
                tested.add(question["question_id"])
            if part == ALL and question["question_id"] in tested:
                continue
            annotation = annotations.get(question["question_id"])
            if annotation is None and annotations:
                findings.note("questions without annotation", str(question["question_id"]))
                continue
            answers, weights = (
                soft_answers([a["answer"] for a in annotation["answers"]]) if annotation else ([], [])
            )
            if annotation and not answers:
                findings.note("questions whose answers are empty", str(question["question_id"]))
                continue
            record = {
                "question_id": int(question["question_id"]),
                "question": clean(question["question"]),
                "answers": answers,
                "weights": weights,
                "type": annotation.get("question_type", "") if annotation else "",
                "answer_type": annotation.get("answer_type", "") if annotation else "",
            }
            by_image.setdefault(int(question["image_id"]), []).append(record)
        stray = len(annotations.keys() - asked)
        if stray:
            findings.note("annotations of no question", part, stray)
        for image_id, records in by_image.items():
            split = "val" if image_id in held_out else "train"
            split = {TEST: "test", ALL: REST}.get(part, split)
            name = f"COCO_{folder}_{image_id:012d}.jpg"
            yield Example(split, (ImageSource(name, root / "coco" / folder / name),), tuple(records))


def answer_counts(root: Path) -> Counter[str]:
    """How often each normalised ``multiple_choice_answer`` is given in train and val."""
    total: Counter[str] = Counter()
    for part in ("train2014", "val2014"):
        total += candidates.count(_annotations(root, part).values())
    return total


def _has_all_questions(root: Path) -> bool:
    path = root / f"vqa/v2_OpenEnded_mscoco_{ALL}_questions.json"
    return path.is_file() or archives.find(path, root) is not None


def _questions(root: Path, part: str) -> list[dict[str, Any]]:
    path = root / f"vqa/v2_OpenEnded_mscoco_{part}_questions.json"
    content = read_json(path, _MEND)
    if "questions" not in content:
        raise FormatError(f"{path}: has no list 'questions'; {_MEND}")
    return content["questions"]


def _annotations(root: Path, part: str) -> dict[int, dict[str, Any]]:
    path = root / f"vqa/v2_mscoco_{part}_annotations.json"
    if part in (TEST, ALL) and not path.exists():
        return {}
    content = read_json(path, _MEND)
    if "annotations" not in content:
        raise FormatError(f"{path}: has no list 'annotations'; {_MEND}")
    return {annotation["question_id"]: annotation for annotation in content["annotations"]}
