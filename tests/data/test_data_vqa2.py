"""VQA v2: splits, soft answers, candidates."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import vqa_release
from vqa_release import annotation

from mamo.data.examples import Findings, FormatError
from mamo.data.releases import candidates, vqa2
from mamo.data.store.prepare import prepare
from mamo.data.store.records import Prepared

root = vqa_release.root


def test_splits_and_soft_answers(root: Path) -> None:
    examples = list(vqa2.read(root, Findings()))
    actual = [(e.split, e.images[0].key, [r["question_id"] for r in e.records]) for e in examples]
    assert actual == [
        ("train", "COCO_train2014_000000000001.jpg", [10, 11]),
        ("val", "COCO_val2014_000000000002.jpg", [20]),
        ("train", "COCO_val2014_000000000003.jpg", [30]),
        ("train", "COCO_val2014_000000000004.jpg", [40]),
        ("test", "COCO_test2015_000000000005.jpg", [50]),
    ]
    record = examples[0].records[0]
    assert record["answers"] == ["2 dogs", "dog"] and record["weights"] == [0.8, 0.2]
    assert record["type"] == "what" and record["answer_type"] == "other"
    assert examples[-1].records[0]["answers"] == []


def test_public_test_annotations_are_used(root: Path) -> None:
    path = root / "vqa/v2_mscoco_test-dev2015_annotations.json"
    path.write_text(json.dumps({"annotations": [annotation(50, 5, ["No"] * 10)]}))
    assert list(vqa2.read(root, Findings()))[-1].records[0]["answers"] == ["no"]


def test_candidates_are_counted_over_train_and_val(root: Path) -> None:
    def write(part: str, answers: list[str]) -> None:
        path = root / f"vqa/v2_mscoco_{part}_annotations.json"
        path.write_text(
            json.dumps({"annotations": [annotation(i, 1, [a] * 10) for i, a in enumerate(answers)]})
        )

    write("train2014", ["Red"] * 5 + ["blue"] * 8 + ["the"] * 20 + ["one"] * 9)
    write("val2014", ["red."] * 4 + ["a red"] * 3)
    counts = vqa2.answer_counts(root)
    assert counts == {"red": 12, "blue": 8, "1": 9}
    assert candidates.select(counts) == ["red", "1"]
    candidates.write(root, counts)
    assert candidates.read(root) == ["red", "1"]
    assert candidates.read(root, 8) == ["red", "1", "blue"]
    with pytest.raises(FormatError, match="no answer is given 13 times"):
        candidates.read(root, 13)


def test_prepared_with_candidates(root: Path, tmp_path: Path) -> None:
    manifest = prepare("vqa2", root, tmp_path / "out", store_size=16)
    assert {split: n["records"] for split, n in manifest["splits"].items()} == {
        "train": 4,
        "val": 1,
        "test": 1,
    }
    record = Prepared(tmp_path / "out").records("train")[3]
    assert record["question"] == "What is 40?" and record["weights"] == pytest.approx([0.8, 0.2])
    assert candidates.read(tmp_path / "out", 5) == ["2 dogs"]


def test_a_question_of_both_parts_is_kept_once(root: Path) -> None:
    for kind, name in (
        ("v2_OpenEnded_mscoco_{}_questions", "questions"),
        ("v2_mscoco_{}_annotations", "annotations"),
    ):
        first, second = (root / f"vqa/{kind.format(part)}.json" for part in ("train2014", "val2014"))
        content = json.loads(second.read_text())
        content[name].append(json.loads(first.read_text())[name][0])
        second.write_text(json.dumps(content))
    findings = Findings()
    numbers = [r["question_id"] for e in vqa2.read(root, findings) for r in e.records]
    assert numbers == [10, 11, 20, 30, 40, 50]
    assert findings.counts == {"questions listed twice": 1}


def test_what_the_official_evaluation_needs_is_kept(root: Path, tmp_path: Path) -> None:
    path = root / "vqa/v2_mscoco_val2014_annotations.json"
    answers = {20: ["a"] * 9 + ["an"], 30: ["the cat"] * 7, 40: ["a"] * 10}
    rows = [annotation(q, i, answers[q]) for q, i in ((20, 2), (30, 3), (40, 4))]
    path.write_text(json.dumps({"annotations": rows}))
    manifest = prepare("vqa2", root, tmp_path / "out", store_size=16)
    prepared = Prepared(tmp_path / "out")
    (held_out,) = prepared.records("val")
    assert (held_out["answers"], held_out["annotators"], held_out["unanimous"]) == ([], 10, "")
    cat = next(r for r in prepared.records("train") if r["question_id"] == 30)
    assert (cat["answers"], cat["annotators"], cat["unanimous"]) == (["cat"], 7, "the cat")
    counted = {reason: entry["count"] for reason, entry in manifest["left_out"].items()}
    assert counted == {
        "evaluation questions that no normalised answer is right for, kept": 1,
        "questions whose answers are empty": 1,  # of training
    }


def test_missing_parts_are_named(root: Path) -> None:
    (root / "vqa/v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(FormatError, match="v2_mscoco_val2014_annotations.json: no such file"):
        list(vqa2.read(root, Findings()))


def test_questions_without_annotation_are_left_out(root: Path) -> None:
    path = root / "vqa/v2_mscoco_train2014_annotations.json"
    path.write_text(json.dumps({"annotations": [annotation(10, 1, ["yes"] * 10)]}))
    findings = Findings()
    assert len(next(iter(list(vqa2.read(root, findings)))).records) == 1
    assert findings.as_dict()["questions without annotation"] == {"count": 1, "named": ["11"]}
