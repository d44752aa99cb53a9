"""VQA's test-dev and test-std: what goes to the evaluation server, and how its scores reach Table 3."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import vqa_release as releases
import vqa_task

from mamo.data.examples import Findings, FormatError
from mamo.data.releases import vqa2
from mamo.data.releases.vqa_server import METRICS, SCORES, SUBMISSION, blank_scores, read_scores
from mamo.data.store.prepare import prepare
from mamo.data.store.records import Prepared
from mamo.data.tokenizer import train_wordpiece
from mamo.reporting.collect import collect
from mamo.reporting.paper import load_paper
from mamo.reporting.tables import make_table
from mamo.runs.make_finetuning import save_evaluation
from mamo.runs.run import Context
from mamo.specs.plan import Plan, make_plan
from mamo.tasks import vqa

ABLATIONS = Path(__file__).parents[2] / "ablations"
root = releases.root


def add_all_test_questions(root: Path, packed: bool) -> None:
    """The file of all test questions, of which test-dev's are some."""
    rows = [
        {"question_id": q, "image_id": i, "question": f"What is {q}?"} for q, i in [(50, 5), (60, 6), (61, 6)]
    ]
    name = "v2_OpenEnded_mscoco_test2015_questions.json"
    if packed:
        with zipfile.ZipFile(root / "vqa/v2_Questions_Test_mscoco.zip", "w") as archive:
            archive.writestr(name, json.dumps({"questions": rows}))
    else:
        (root / "vqa" / name).write_text(json.dumps({"questions": rows}))
    photo = (root / "coco/test2015/COCO_test2015_000000000005.jpg").read_bytes()
    (root / "coco/test2015/COCO_test2015_000000000006.jpg").write_bytes(photo)


@pytest.mark.parametrize("packed", [False, True])
def test_the_other_test_questions_are_kept_apart_from_test_dev(
    root: Path, tmp_path: Path, packed: bool
) -> None:
    before = {e.split for e in vqa2.read(root, Findings())}
    assert before == {"train", "val", "test"}  # without the file there is no such split
    add_all_test_questions(root, packed)
    manifest = prepare("vqa2", root, tmp_path / "out", store_size=384)
    assert manifest["splits"]["test"]["records"] == 1 and manifest["splits"]["test_rest"]["records"] == 2
    data = Prepared(tmp_path / "out")
    assert data.records("test_rest").column("question_id").to_pylist() == [60, 61]
    assert data.records("test").column("question_id").to_pylist() == [50]


def test_the_submission_answers_every_test_question(root: Path, tmp_path: Path) -> None:
    add_all_test_questions(root, packed=False)
    prepare("vqa2", root, tmp_path / "out", store_size=384)
    tokenizer = train_wordpiece(["what is it", *vqa_task.ANSWERS], 64, tmp_path / "words")
    task = vqa_task.make_task(tokenizer)
    evaluation = task.test(Prepared(tmp_path / "out"))
    rows = json.loads(evaluation.files[SUBMISSION])
    assert [row["question_id"] for row in rows] == [50, 60, 61]
    assert all(set(row) == {"question_id", "answer"} and row["answer"] in vqa_task.ANSWERS for row in rows)
    assert json.loads(evaluation.files[SCORES]) == {"test-dev": None, "test-std": None}
    assert evaluation.split == "val" and evaluation.flags["evaluated_on_val"]


def test_entered_scores_are_not_blanked(tmp_path: Path) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table3"])
    run = plan.find("finetune", "vqa-mamo")
    context = Context(plan, run, tmp_path, None)
    context.directory.mkdir(parents=True)
    evaluation = vqa.Evaluation({}, {}, {SCORES: blank_scores(), SUBMISSION: "[]"})
    save_evaluation(evaluation, context)
    assert read_scores(context.directory) == {}
    (context.directory / SCORES).write_text('{"test-dev": 75.5, "test-std": null}')
    save_evaluation(evaluation, context)
    assert read_scores(context.directory) == {"test_dev_accuracy": 75.5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ('{"test-dev": "75.5"}', "a percentage or null for each of test-dev, test-std"),
        ('{"test-dev": 755}', "percentage"),
        ('{"test_std": 75.5}', "'test_std'"),
        ("[75.5]", "percentage"),
        ('{"test-dev": true}', "percentage"),
    ],
)
def test_a_wrong_score_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / SCORES).write_text(text)
    with pytest.raises(FormatError, match=f"{SCORES}.*{message}"):
        read_scores(tmp_path)


def record(plan: Plan, results: Path, **metrics: float) -> None:
    """Records of all runs of Table 3, as if VQA had been evaluated on val."""
    for key in plan.tables["table3"].inputs:
        run = plan.runs[key]
        run.directory(results).mkdir(parents=True, exist_ok=True)
        values = {"accuracy": 60.0, "chance/accuracy": 30.0, "dev_accuracy": 70.0, "test_accuracy": 71.0}
        content: dict[str, Any] = {
            "run": run.id,
            "outcome": {"status": "converged", "reason": ""},
            "metrics": values,
        }
        run.record(results).write_text(json.dumps(content))


def test_table_3_shows_the_servers_scores_where_they_were_entered(tmp_path: Path) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table3"])
    table = plan.tables["table3"]
    record(plan, tmp_path)

    def shown() -> dict[str, tuple[str, ...]]:
        made = make_table(table.ablation, collect(plan, table, tmp_path), load_paper("table3", ABLATIONS))
        assert [heading.key for heading in made.headings][:2] == ["vqa_test_dev", "vqa_test_std"]
        return {line.key: line.texts[:2] for line in made.ours}

    assert shown() == {"mamo": ("60.00", "–"), "albef_style": ("60.00", "–")}
    folder = plan.find("finetune", "vqa-mamo").directory(tmp_path)
    (folder / SCORES).write_text('{"test-dev": 75.5, "test-std": null}')
    assert shown() == {"mamo": ("75.50", "–"), "albef_style": ("60.00", "–")}
    (folder / SCORES).write_text('{"test-dev": 75.5, "test-std": 75.61}')
    assert shown() == {"mamo": ("75.50", "75.61"), "albef_style": ("60.00", "–")}
    metrics = {cell.metric for cell in collect(plan, table, tmp_path).cells if cell.row == "mamo"}
    assert metrics == {*METRICS.values(), "dev_accuracy", "test_accuracy"}
