"""Answer candidates of VQA: every normalised answer given often enough (nine times; ViLT, METER)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mamo.data.examples import FormatError
from mamo.data.releases.fields import document
from mamo.data.vqa_normalise import normalise_answer
from mamo.files.writing import write_json

FILE = "candidates.json"
MIN_COUNT = 9


def count(annotations: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """How often each normalised ``multiple_choice_answer`` is given in VQA annotations."""
    counts = Counter(normalise_answer(annotation["multiple_choice_answer"]) for annotation in annotations)
    counts.pop("", None)
    return counts


def select(counts: dict[str, int], min_count: int = MIN_COUNT) -> list[str]:
    """The answers given at least ``min_count`` times, most frequent first, ties in alphabetical order."""
    return sorted(
        (answer for answer, n in counts.items() if n >= min_count),
        key=lambda answer: (-counts[answer], answer),
    )


def write(folder: Path, counts: dict[str, int], min_count: int = MIN_COUNT) -> None:
    """Write ``candidates.json``: the candidates at the usual threshold, and all counts for others."""
    ordered = {answer: counts[answer] for answer in select(counts, 1)}
    write_json(
        folder / FILE, {"min_count": min_count, "candidates": select(counts, min_count), "counts": ordered}
    )


def read(folder: Path, min_count: int = MIN_COUNT) -> list[str]:
    """The candidates of a prepared VQA data set at any threshold.

    Raises:
        FormatError: no ``candidates.json``, or no answer is given that often.
    """
    content = document(folder / FILE, "prepare the data set vqa2 again")
    counts = content.value("counts")
    if not isinstance(counts, dict) or not all(type(count) is int and count > 0 for count in counts.values()):
        raise content.wrong("'counts' is not how often each answer is given")
    found = select(counts, min_count)
    if not found:
        raise FormatError(f"{folder / FILE}: no answer is given {min_count} times; lower min_answer_count")
    return found
