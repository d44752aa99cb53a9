"""VQA's official accuracy over a split, by type of question, and what questions alone are worth."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from mamo.data.store.manifest import Row
from mamo.data.vqa_normalise import accuracy


def question_scores(predictions: Sequence[str], records: Sequence[Row]) -> list[float]:
    """Compute the official accuracy of each prediction in percent.

    Args:
        predictions: one answer per record.
        records: prepared ones, see :func:`mamo.data.vqa_normalise.accuracy`.
    """
    return [
        100 * accuracy(prediction, record) for prediction, record in zip(predictions, records, strict=True)
    ]


def mean_by(names: Sequence[str], scores: Sequence[float]) -> dict[str, float]:
    """Average the scores of each name that is not empty, in alphabetical order."""
    grouped: defaultdict[str, list[float]] = defaultdict(list)
    for name, score in zip(names, scores, strict=True):
        if name:
            grouped[name].append(score)
    return {name: sum(grouped[name]) / len(grouped[name]) for name in sorted(grouped)}


class QuestionOnly:
    """The best guess without the image: what annotators of the training set answered most often.

    To the identical question if it was asked there, else to questions of the same type, else to any question.
    Answers are counted by their shares of annotators; ties go to the alphabetically first.

    Raises:
        ValueError: no training record has an answer.
    """

    def __init__(self, records: Iterable[Row]) -> None:
        # Three tables, from the most to the least specific.
        questions: defaultdict[str, Counter[str]] = defaultdict(Counter)
        types: defaultdict[str, Counter[str]] = defaultdict(Counter)
        every: Counter[str] = Counter()
        for record in records:
            for answer, weight in zip(record["answers"], record["weights"], strict=True):
                questions[record["question"]][answer] += weight
                types[record["type"]][answer] += weight
                every[answer] += weight
        if not every:
            raise ValueError(
                "no training question has an answer; prepare the VQA data set with its annotations"
            )
        self._questions = {question: _most(counts) for question, counts in questions.items()}
        self._types = {kind: _most(counts) for kind, counts in types.items() if kind}
        self._any = _most(every)

    def __call__(self, question: str, kind: str) -> str:
        """Guess the answer to a question of a type."""
        return self._questions.get(question) or self._types.get(kind) or self._any


def _most(counts: Counter[str]) -> str:
    # Shares are float32 on disk: rounding keeps true ties ties.
    return min(counts, key=lambda answer: (-round(counts[answer], 4), answer))
