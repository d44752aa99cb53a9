"""The official VQA evaluation's answer processing and accuracy (Antol et al., 2015; VQA v2's evaluation code).

Rules: https://visualqa.org/evaluation.html: lower case, number words to digits, articles removed, apostrophes added to
contractions, punctuation removed except in numbers. Oddities of the released code are kept where they change answers or
scores.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# A point goes unless a digit follows. The released pattern misspells its look-behind, so "3." also loses its
# point, and passes a flag as the largest number of replacements: at most 32 points are removed (re.UNICODE).
_POINT = re.compile(r"\.(?!\d)")
_POINTS_REMOVED = int(re.UNICODE)
_NUMBERS = {
    word: str(value)
    for value, word in enumerate("zero one two three four five six seven eight nine ten".split())
} | {"none": "0"}
_ARTICLES = {"a", "an", "the"}

# Words whose spelling without the apostrophe is corrected.
_SIMPLE = """
    ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll
    how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't
    should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's
    there'd there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's
    what've when's where'd where's where've who'd who'll who's who've why'll why're why's won't would've
    wouldn't y'all you'd you'll you're you've
"""
# Words with two apostrophes, corrected if either one is missing (but not both).
_DOUBLE = """
    couldn't've hadn't've he'd've it'd've mightn't've she'd've shouldn't've somebody'd've someone'd've
    something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll you'd've
"""


def _contractions() -> dict[str, str]:
    table = {word.replace("'", ""): word for word in _SIMPLE.split()}
    for word in [*_DOUBLE.split(), "'ow's'at", "y'all'd've"]:
        for place in (match.start() for match in re.finditer("'", word)):
            table[word[:place] + word[place + 1 :]] = word
    # The released table drops this apostrophe instead of adding it.
    return table | {"somebody'd": "somebodyd"}


CONTRACTIONS = _contractions()


@lru_cache(maxsize=1 << 16)  # people give the same few thousand answers again and again
def normalise_answer(answer: str) -> str:
    """Bring an answer into the official form, e.g. ``"Two  dogs."`` -> ``"2 dogs"``."""
    text = _stripped(answer)
    in_number = _COMMA_IN_NUMBER.search(text) is not None
    stripped = text
    for mark in _PUNCTUATION:
        apart = f"{mark} " in text or f" {mark}" in text
        stripped = stripped.replace(mark, "" if apart or in_number else " ")
    stripped = _POINT.sub("", stripped, count=_POINTS_REMOVED)
    words = (_NUMBERS.get(word, word) for word in stripped.lower().split())
    return " ".join(CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def _stripped(answer: str) -> str:
    return str(answer).replace("\n", " ").replace("\t", " ").strip()


def soft_answers(answers: Sequence[str]) -> tuple[list[str], list[float]]:
    """Distinct normalised answers and the share of annotators who gave each, most frequent first.

    Answers that normalise to nothing (e.g. ``"the"``) are dropped; the shares still count the people who gave them.
    """
    counts: dict[str, int] = {}
    for answer in map(normalise_answer, answers):
        if answer:
            counts[answer] = counts.get(answer, 0) + 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return [answer for answer, _ in ranked], [count / len(answers) for _, count in ranked]


ANNOTATORS = 10  # people asked per question in VQA v2


def unanimous_answer(answers: Sequence[str]) -> str:
    """Return the answer that all annotators gave in exactly the same words; '' if they differ.

    The released code normalises answers and predictions only where the annotators' answers are not all the same. So a question
    that all answered with "the cat" is answered rightly by "the cat" alone, and by no normalised answer.
    """
    given = {_stripped(answer) for answer in answers}
    return given.pop() if len(given) == 1 else ""


def accuracy(prediction: str, record: Mapping[str, Any]) -> float:
    """Official VQA accuracy of a prediction in [0, 1]: min(matches / 3, 1), averaged over leaving one annotator out.

    Args:
        prediction: any text; it is normalised where the evaluation does so.
        record: a prepared one: ``answers`` (distinct, normalised) and ``weights`` (the share of annotators of each);
            ``annotators``, how many answered, and ``unanimous``, see :func:`unanimous_answer`. A record of a data set that
            was prepared before these were kept has ten annotators, who differ.
    """
    annotators = record.get("annotators") or ANNOTATORS
    if record.get("unanimous"):
        share = float(_stripped(prediction) == record["unanimous"])
    else:
        shares = dict(zip(record["answers"], record["weights"], strict=True))
        share = shares.get(normalise_answer(prediction), 0.0)
    matches = round(share * annotators)
    without_a_match = min(1.0, (matches - 1) / 3) * matches
    without_another = min(1.0, matches / 3) * (annotators - matches)
    return (without_a_match + without_another) / annotators
