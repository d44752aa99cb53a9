"""VQA's evaluation server: the file submitted to it, and the scores that it returns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mamo.data.examples import read_json
from mamo.data.releases.fields import check

SUBMISSION = "vqa_submission.json"
SCORES = "vqa_scores.json"
METRICS = {"test-dev": "test_dev_accuracy", "test-std": "test_std_accuracy"}
Percentage = Annotated[float, Field(strict=True, ge=0, le=100)]
_FIX = f"enter a percentage or null for each of {', '.join(METRICS)}"


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
    entered = check(
        read_json(path, _FIX), dict[Literal["test-dev", "test-std"], Percentage | None], str(path), _FIX
    )
    return {METRICS[name]: value for name, value in entered.items() if value is not None}
