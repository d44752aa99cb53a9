"""VQA's official accuracy by hand, and the baseline that answers from the question alone."""

from __future__ import annotations

import numpy as np
import pytest

from mamo.tasks.vqa_accuracy import QuestionOnly, mean_by, question_scores


@pytest.mark.parametrize(("matches", "expected"), [(0, 0), (1, 30), (2, 60), (3, 90), (4, 100), (10, 100)])
def test_official_accuracy_by_hand(matches: int, expected: float) -> None:
    weights = np.array([matches / 10, 1 - matches / 10], dtype=np.float32).tolist()
    record = {"answers": ["red", "blue"], "weights": weights}
    assert question_scores(["red"], [record]) == pytest.approx([expected])


def test_mean_by_type_skips_what_has_none() -> None:
    assert mean_by(["b", "a", "b", ""], [100.0, 30.0, 0.0, 90.0]) == {"a": 30.0, "b": 50.0}


def test_question_only_baseline_by_hand() -> None:
    def record(question: str, kind: str, **shares: float) -> dict[str, object]:
        return {"question": question, "type": kind, "answers": list(shares), "weights": list(shares.values())}

    guess = QuestionOnly(
        [
            record("what colour is it", "what colour", red=0.9, blue=0.1),
            record("what colour is it", "what colour", blue=1.0),
            record("what colour is the car", "what colour", red=1.0),
            record("is it a dog", "is it", yes=1.0),
            record("is it a cat", "is it", no=1.0),
            record("is it", "is it", yes=0.7, no=0.3),
        ]
    )
    assert guess("what colour is it", "what colour") == "blue"  # 1.1 against 0.9 for the same question
    assert guess("what colour is the bus", "what colour") == "red"  # 1.9 against 1.1 for the type
    assert guess("is it a cat", "is it") == "no"
    assert guess("is it a cow", "is it") == "yes"
    assert guess("who", "who") == "red"  # 1.9 red against 1.7 yes
    with pytest.raises(ValueError, match="no training question"):
        QuestionOnly([])


# --- evaluation on a prepared data set
