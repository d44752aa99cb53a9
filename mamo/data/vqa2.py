"""VQA v2: train and val for training, a held-out part of val for validation, test-dev for testing, the rest for the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamo.data import archives, candidates
from mamo.data.examples import Example, Findings, FormatError, ImageSource, said
from mamo.data.fields import Entry, by_id, document
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
        asked: set[int] = set()
        for question in _questions(root, part):
            number = question.integer("question_id")
            if number in asked:
                findings.note("questions listed twice", str(number))
                continue
            asked.add(number)
            if part == ALL and number in tested:
                continue
            if part == TEST:
                tested.add(number)
            annotation = annotations.get(number)
            if annotation is None and annotations:
                findings.note("questions without annotation", str(number))
                continue
            answers, weights = soft_answers(_answers(annotation)) if annotation else ([], [])
            if annotation and not answers:
                findings.note("questions whose answers are empty", str(number))
                continue
            text = said(question.text("question"), str(number), findings, "questions without text")
            if not text:
                continue
            record = {
                "question_id": number,
                "question": text,
                "answers": answers,
                "weights": weights,
                "type": _label(annotation, "question_type"),
                "answer_type": _label(annotation, "answer_type"),
            }
            by_image.setdefault(question.integer("image_id"), []).append(record)
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
        annotations = _annotations(root, part)
        for annotation in annotations.values():
            annotation.word("multiple_choice_answer")
        total += candidates.count(annotation.values for annotation in annotations.values())
    return total


def _answers(annotation: Entry) -> list[str]:
    answers = []
    for answer in annotation.entries("answers"):
        text = answer.text("answer")
        if text != "":  # nobody's answer is left out further on
            answer.word("answer")
        answers.append(text or "")
    return answers


def _label(annotation: Entry | None, name: str) -> str:
    """A word about a question that only the annotations have, if they do."""
    return (annotation.text(name) or "") if annotation is not None and name in annotation else ""


def _has_all_questions(root: Path) -> bool:
    path = root / f"vqa/v2_OpenEnded_mscoco_{ALL}_questions.json"
    return path.is_file() or archives.find(path, root) is not None


def _questions(root: Path, part: str) -> Iterator[Entry]:
    return _entries(root / f"vqa/v2_OpenEnded_mscoco_{part}_questions.json", "questions")


def _annotations(root: Path, part: str) -> dict[int, Entry]:
    path = root / f"vqa/v2_mscoco_{part}_annotations.json"
    if part in (TEST, ALL) and not path.exists():
        return {}
    return by_id(_entries(path, "annotations"), "question_id")


def _entries(path: Path, name: str) -> Iterator[Entry]:
    content = document(path, _MEND)
    if not content.values.get(name):
        raise FormatError(f"{path}: has no list '{name}', or an empty one; {_MEND}")
    return content.entries(name)
