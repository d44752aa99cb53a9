"""Answer candidates of VQA: every normalised answer given often enough (nine times; ViLT, METER)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mamo.data.examples import FormatError
from mamo.data.releases.fields import Whole, document
from mamo.data.vqa_normalise import normalise_answer
from mamo.files.writing import write_json

FILE = "candidates.json"
MIN_COUNT = 9


@dataclass(slots=True)
class Content:
    """The file's content, as far as it is read: how often each answer is given."""

    counts: dict[str, Annotated[Whole, Field(gt=0)]]


def count(answers: Iterable[str]) -> Counter[str]:
    """How often each answer is given, normalised."""
    counts = Counter(map(normalise_answer, answers))
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
    content = document(folder / FILE, Content, "prepare the data set vqa2 again")
    found = select(content.counts, min_count)
    if not found:
        raise FormatError(f"{folder / FILE}: no answer is given {min_count} times; lower min_answer_count")
    return found
