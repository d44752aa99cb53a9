"""VQA v2: train and val for training, a held-out part of val for validation, test-dev for testing, the rest for the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamo.data import archives
from mamo.data.examples import Example, Findings, ImageSource, said
from mamo.data.releases import candidates
from mamo.data.releases.fields import Name, Records, Short, Whole, by_id, lists
from mamo.data.releases.karpathy import coco_ids
from mamo.data.vqa_normalise import soft_answers, unanimous_answer

_ORIGIN = "it comes from the VQA v2 download page (visualqa.org)"
TRAINED = ("train2014", "val2014")
TEST = "test-dev2015"
ALL = "test2015"
REST = "test_rest"  # test questions beside test-dev's: the server needs all of them for test-std


@dataclass(slots=True)
class Question:
    """A question about an image."""

    question_id: Whole
    image_id: Whole
    question: str | None


@dataclass(slots=True)
class Answer:
    """One annotator's answer, which may be empty: from here on none is left out."""

    answer: Short


@dataclass(slots=True, kw_only=True)
class Annotation:
    """The answers to a question."""

    question_id: Whole
    answers: list[Answer]
    image_id: Whole | None = None
    question_type: str | None = None
    answer_type: str | None = None


@dataclass(slots=True, kw_only=True)
class Chosen(Annotation):
    """The same of train and val, with the answer that most annotators gave."""

    multiple_choice_answer: Name


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """One example per image with all its questions.

    Splits: ``train`` is train2014 and val2014 without the images of Karpathy's test split, which are ``val``; ``test`` is
        test-dev, whose answers are empty where no annotations are at hand (they are not public); ``test_rest``, there only
        where the release has the file of all test questions, is what test-std needs beside it.
    """
    held_out = coco_ids(root / "coco/dataset_coco.json", ("test",))
    tested: set[int] = set()
    known: set[int] = set()
    for part in (*TRAINED, TEST, ALL):
        if part == ALL and not _has_all_questions(root):
            continue
        folder = "test2015" if part in (TEST, ALL) else part
        annotations = _annotations(root, part)
        if part in TRAINED:
            findings.tallies[part] = dict(_chosen(annotations))
        by_image: dict[int, list[dict[str, Any]]] = {}
        asked: set[int] = set()
        questions = _questions(root, part)
        for question in questions:
            number, image_id = question.question_id, question.image_id
            if part == ALL and number in tested and number not in asked:
                asked.add(number)
                continue
            asked.add(number)
            if number in known:
                findings.note("questions listed twice", str(number))
                continue
            known.add(number)
            if part == TEST:
                tested.add(number)
            annotation = annotations.get(number)
            if annotation is None and annotations:
                findings.note("questions without annotation", str(number))
                continue
            if annotation is not None and annotation.image_id not in (None, image_id):
                raise questions.wrong(
                    f"'image_id' is {image_id}, and {annotation.image_id} in the annotation of question {number}"
                )
            trained = _split(part, image_id in held_out) == "train"
            record = _record(question, annotation, trained, findings)
            if record is not None:
                by_image.setdefault(image_id, []).append(record)
        stray = len(annotations.keys() - asked)
        if stray:
            findings.note("annotations of no question", part, stray)
        for image_id, records in by_image.items():
            name = f"COCO_{folder}_{image_id:012d}.jpg"
            split = _split(part, image_id in held_out)
            yield Example(split, (ImageSource(name, root / "coco" / folder / name),), tuple(records))


def _record(
    question: Question, annotation: Annotation | None, trained: bool, findings: Findings
) -> dict[str, Any] | None:
    """Join a question and its annotators' answers; None if it is left out, which is then noted in ``findings``."""
    number = question.question_id
    given = [answer.answer for answer in annotation.answers] if annotation is not None else []
    answers, weights = soft_answers(given)
    if annotation is not None and not answers:
        # Such as "a" for a letter. Nothing can be learned from it, but the official evaluation counts the question.
        if trained or not any(given):
            findings.note("questions whose answers are empty", str(number))
            return None
        findings.note("evaluation questions that no normalised answer is right for, kept", str(number))
    text = said(question.question, str(number), findings, "questions without text")
    if not text:
        return None
    return {
        "question_id": number,
        "question": text,
        "answers": answers,
        "weights": weights,
        "type": (annotation and annotation.question_type) or "",
        "answer_type": (annotation and annotation.answer_type) or "",
        "annotators": len(given),
        "unanimous": unanimous_answer(given),
    }


def _split(part: str, held_out: bool) -> str:
    return {TEST: "test", ALL: REST}.get(part, "val" if held_out else "train")


def answer_counts(root: Path, findings: Findings | None = None) -> Counter[str]:
    """How often each normalised ``multiple_choice_answer`` is given in train and val.

    Args:
        findings: of a reading of the same release; the parts whose answers it counted are not read once more.
    """
    counted = findings.tallies if findings is not None else {}
    total: Counter[str] = Counter()
    for part in TRAINED:
        total += Counter(counted[part]) if part in counted else _chosen(_annotations(root, part))
    return total


def write_candidates(root: Path, out: Path, findings: Findings) -> None:
    """Write ``candidates.json`` beside the prepared records."""
    candidates.write(out, answer_counts(root, findings))


def _chosen(annotations: Mapping[int, Annotation]) -> Counter[str]:
    return candidates.count(a.multiple_choice_answer for a in annotations.values() if isinstance(a, Chosen))


def _has_all_questions(root: Path) -> bool:
    path = root / f"vqa/v2_OpenEnded_mscoco_{ALL}_questions.json"
    return path.is_file() or archives.find(path, root) is not None


def _questions(root: Path, part: str) -> Records[Question]:
    (questions,) = lists(root / f"vqa/v2_OpenEnded_mscoco_{part}_questions.json", _ORIGIN, questions=Question)
    return questions


def _annotations(root: Path, part: str) -> dict[int, Annotation]:
    path = root / f"vqa/v2_mscoco_{part}_annotations.json"
    if part in (TEST, ALL) and not path.exists():
        return {}
    (annotations,) = lists(path, _ORIGIN, annotations=Chosen if part in TRAINED else Annotation)
    return by_id(annotations, "question_id")
