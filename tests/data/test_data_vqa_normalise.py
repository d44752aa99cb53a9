"""Answer processing and accuracy of the official VQA evaluation, on hand cases."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mamo.data.vqa_normalise import CONTRACTIONS, accuracy, normalise_answer, soft_answers, unanimous_answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Yes", "yes"),
        (" The dog. ", "dog"),
        ("a red an  blue", "red blue"),
        ("two dogs", "2 dogs"),
        ("None", "0"),
        ("ten", "10"),
        ("eleven", "eleven"),
        ("dont know", "don't know"),
        ("don't", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("yall'd've", "y'all'd've"),
        ("somebody'd", "somebodyd"),  # the released table has this pair the wrong way round
        ("wed", "wed"),  # a word of its own
        ("red/white", "red white"),  # between letters a mark becomes a space
        ("red / white", "red white"),  # beside a space it vanishes
        ("t-shirt", "t shirt"),
        ("is it? yes", "is it yes"),
        ("10,000", "10000"),  # a comma within a number takes every mark along
        ("10,000-20,000", "1000020000"),
        ("3.5", "3.5"),
        ("3.", "3"),
        ("u.s. flag", "us flag"),
        (".5", ".5"),
        ("$5.00", "$5.00"),
        ("it's 5:30", "it's 5:30"),  # colon and apostrophe are not in the table
        ("new\nyork\tcity", "new york city"),
        ("café 2", "café 2"),
        ("the", ""),
        ("", ""),
    ],
)
def test_official_form(answer: str, expected: str) -> None:
    assert normalise_answer(answer) == expected


def test_normalising_twice_changes_nothing_for_usual_answers() -> None:
    for answer in ("yes", "2 dogs", "red white", "10000", "don't know", "us flag"):
        assert normalise_answer(normalise_answer(answer)) == answer


def test_contractions_cover_the_released_table() -> None:
    # Of 120 released entries four ask for capitals, which never come, and two change nothing.
    assert len(CONTRACTIONS) == 114
    assert all(
        key != value and key.replace("'", "") == value.replace("'", "") for key, value in CONTRACTIONS.items()
    )


def test_soft_answers_are_shares_of_annotators() -> None:
    answers, weights = soft_answers(
        ["Red", "red", "the red", "blue", "blue.", "dark blue", "a", "red", "red", "Blue"]
    )
    assert answers == ["red", "blue", "dark blue"]
    assert weights == pytest.approx([0.5, 0.3, 0.1])


def test_accuracy_is_the_mean_over_left_out_annotators() -> None:
    people = ["red"] * 3 + ["blue"] * 2 + ["green"] * 5
    for prediction in ("red", "blue", "green", "pink"):
        subsets = itertools.combinations(people, 9)
        expected = [min(1.0, subset.count(prediction) / 3) for subset in subsets]
        assert accuracy(prediction, record(people)) == pytest.approx(sum(expected) / len(expected))
    assert accuracy("The RED!", record(people)) == accuracy("red", record(people)) == pytest.approx(0.9)
    assert accuracy("x", {"answers": [], "weights": []}) == 0


def record(people: list[str]) -> dict[str, Any]:
    answers, weights = soft_answers(people)
    counted = {"annotators": len(people), "unanimous": unanimous_answer(people)}
    return {"answers": answers, "weights": weights, **counted}


@pytest.mark.parametrize(
    ("prediction", "people", "official"),
    [
        ("cat", ["the cat"] * 10, 0.0),  # all agree: nothing is normalised
        ("the cat", ["the cat"] * 10, 1.0),
        ("wi fi", ["wi-fi"] * 10, 0.0),
        ("Cat", ["cat"] * 10, 0.0),
        ("cat", [" cat\n"] * 10, 1.0),  # white space at the ends goes before they are compared
        ("cat", ["the cat"] * 9 + ["cat"], 1.0),  # they differ: everything is normalised
        ("wi fi", ["wi-fi"] * 9 + ["internet"], 1.0),
        ("red", ["red"] * 2 + ["blue"] * 3, (2 * 1 / 3 + 3 * 2 / 3) / 5),  # five annotators
        ("red", ["red"], 0.0),  # nobody is left to agree with
        ("red", ["red"] * 4 + ["blue"] * 16, 1.0),
    ],
)
def test_official_scores_by_hand(prediction: str, people: list[str], official: float) -> None:
    assert accuracy(prediction, record(people)) == pytest.approx(official)
