"""A small release of VQA v2."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def annotation(question: int, image: int, answers: list[str], kind: str = "what") -> dict[str, Any]:
    return {
        "question_id": question,
        "image_id": image,
        "question_type": kind,
        "answer_type": "other",
        "multiple_choice_answer": max(answers, key=answers.count),
        "answers": [
            {"answer": a, "answer_confidence": "yes", "answer_id": i} for i, a in enumerate(answers, 1)
        ],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "vqa").mkdir()
    images = [
        {"filename": "x", "filepath": "val2014", "cocoid": c, "split": s, "sentences": []}
        for c, s in [(1, "train"), (2, "test"), (3, "restval"), (4, "val")]
    ]
    (tmp_path / "coco").mkdir()
    (tmp_path / "coco/dataset_coco.json").write_text(json.dumps({"images": images}))
    parts = {
        "train2014": [(10, 1), (11, 1)],
        "val2014": [(20, 2), (30, 3), (40, 4)],
        "test-dev2015": [(50, 5)],
    }
    for part, questions in parts.items():
        rows = [{"question_id": q, "image_id": i, "question": f"What is {q}?"} for q, i in questions]
        path = tmp_path / f"vqa/v2_OpenEnded_mscoco_{part}_questions.json"
        path.write_text(json.dumps({"data_type": "mscoco", "questions": rows}))
        answers = [
            annotation(q, i, ["Two dogs"] * 6 + ["two  dogs."] * 2 + ["dog"] * 2) for q, i in questions
        ]
        if part != "test-dev2015":
            path = tmp_path / f"vqa/v2_mscoco_{part}_annotations.json"
            path.write_text(json.dumps({"annotations": answers}))
        folder = tmp_path / "coco" / ("test2015" if part.startswith("test") else part)
        folder.mkdir()
        for _, image in questions:
            out = io.BytesIO()
            Image.new("RGB", (20, 20)).save(out, "JPEG")
            (folder / f"COCO_{folder.name}_{image:012d}.jpg").write_bytes(out.getvalue())
    return tmp_path
