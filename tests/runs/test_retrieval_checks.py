"""Test what a fine-tuned retrieval run's record says of its validation split."""

from __future__ import annotations

import pytest
from killable import Project

pytestmark = pytest.mark.slow


def test_the_record_says_whether_fine_tuning_and_re_ranking_help_on_val(killable: Project) -> None:
    checks = {
        one["check"]: one for one in killable.record(killable.find("finetune", "retrieval_coco"))["checks"]
    }
    tuned, ranked = checks["fine-tuning"], checks["re-ranking on val"]
    numbers = tuned["numbers"]
    assert 0 < numbers["before"] <= 100 and tuned["passed"] == (numbers["after"] >= numbers["before"])
    assert ranked["passed"] == (min(ranked["numbers"].values()) >= 0) and set(ranked["numbers"]) == {
        "tr",
        "ir",
    }
    # "text A -> B, image C -> D, text ... before fine-tuning": the gains are those of the fine-tuned network
    after = ranked["says"].split(": ", 1)[1].split(", ")[:2]
    for way, words in zip(("tr", "ir"), after, strict=True):
        alone, re_ranked = (float(value) for value in words.split(" ", 1)[1].split(" -> "))
        assert re_ranked - alone == pytest.approx(ranked["numbers"][way], abs=0.11)
    assert ranked["says"].count("before fine-tuning") == 2
