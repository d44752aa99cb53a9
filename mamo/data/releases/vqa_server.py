"""VQA's evaluation server: the file submitted to it, and the scores that it returns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamo.data.examples import FormatError

SUBMISSION = "vqa_submission.json"
SCORES = "vqa_scores.json"
METRICS = {"test-dev": "test_dev_accuracy", "test-std": "test_std_accuracy"}


def submission(records: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> str:
    """The results file that the server takes: a list of ``{"question_id": ..., "answer": ...}``."""
    rows = [
        {"question_id": int(record["question_id"]), "answer": answer}
        for record, answer in zip(records, answers, strict=True)
    ]
    return json.dumps(rows)


def blank_scores() -> str:
    """Return the score file without any scores."""
    return json.dumps(dict.fromkeys(METRICS), indent=1) + "\n"


def read_scores(directory: Path) -> dict[str, float]:
    """Read the server's scores entered in a run's score file, as metrics in percent; empty if there are none.

    Raises:
        FormatError: the file holds anything but a number from 0 to 100 or null for each of ``METRICS``.
    """
    path = directory / SCORES
    if not path.exists():
        return {}
    try:
        entered = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FormatError(f"{path}: not JSON ({error}); it should look like {blank_scores()}") from error
    found = {}
    for name, value in (entered if isinstance(entered, dict) else {"": entered}).items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in METRICS or not (value is None or (number and 0 <= value <= 100)):
            wanted = f"a percentage or null for each of {', '.join(METRICS)}"
            raise FormatError(f"{path}: '{name[:60]}': {str(value)[:60]!r} is not expected; enter {wanted}")
        if value is not None:
            found[METRICS[name]] = float(value)
    return found
