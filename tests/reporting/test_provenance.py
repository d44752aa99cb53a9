"""From a number to its runs, what sets two runs apart, and ours beside the paper's."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mamo.cli.main import main
from mamo.files.record import Outcome, Record
from mamo.reporting.provenance import facts, row_provenance, unnamed_code
from mamo.specs.code import Code
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def write_record(plan: Plan, key: str, results: Path, **more: Any) -> None:
    run, path = plan.runs[key], plan.runs[key].record(results)
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {
        "spec": dict(run.spec),
        "inputs": dict(run.inputs),
        "revision": 1,
        "outcome": {"status": "converged", "reason": ""},
        "metrics": {"tr_r1": 20.0, "ir_r1": 10.0, "accuracy": 40.0},
        "details": {"steps": 10, "pairs_per_second": 155.7},
        "provenance": {
            "started": "2026-01-01T00:00:00+00:00",
            "wall_seconds": 1.5,
            "cpu_seconds": 2.5,
            "peak_memory_mb": 800,
            "machine": {"cpu": "a processor", "cores": 2},
            "versions": {"python": "3.11", "torch": "2.14"},
            "code": "abc123",
        },
    }
    path.write_text(json.dumps(record | more))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Results of Table 7 at smoke, below a folder for all scales."""
    plan = make_plan("smoke", ABLATIONS, only=["table7"])
    results = tmp_path / "smoke"
    for key in plan.closure(plan.tables["table7"].inputs):
        write_record(plan, key, results)
        if plan.runs[key].kind == "data":
            (plan.runs[key].directory(results) / "manifest.json").write_text(
                json.dumps({"files": [], "splits": {}, "dataset": key})
            )
    return tmp_path


def test_a_rows_numbers_lead_to_their_runs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "table7", "no_predictor", "--scale", "smoke", "--results", str(root)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("table7, row no_predictor: w/o predictor\n")
    assert "  VQA test-dev (accuracy), seed 0: 40\n    finetune/vqa-mamo-no_predictor-epochs_10-" in text
    for fact in (
        "outcome: converged",
        "code: abc123",
        "packages: python 3.11, torch 2.14",
        "machine: cpu a processor, cores 2",
        "wall-clock: 1.5 s",
        "peak memory: 800 MB",
        "throughput: 155.7 pairs/s",
        "spec objectives.mrm.predictor: false",
        "spec seed: 0",
        "spec shortlist: 4",  # of the downstream runs too
    ):
        assert f"  {fact}" in text, fact
    assert "  input data:coco: data/coco-" in text and ", content " in text
    # The pre-training stands first, then one run for each of the three jobs.
    assert [
        line.split("/")[0] for line in text.splitlines() if line.startswith(("pretrain/", "finetune/"))
    ] == (["pretrain"] + ["finetune"] * 3)


def test_a_run_without_record_and_an_old_record_are_shown_as_far_as_they_go(root: Path) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table7"])
    table, results = plan.tables["table7"], root / "smoke"
    pretraining = table.pretrainings["full"][0]
    plan.runs[pretraining].record(results).write_text(
        json.dumps({"outcome": {"status": "converged"}, "metrics": {}})
    )
    gone = table.cells[0].runs[0]
    plan.runs[gone].record(results).unlink()
    actual = row_provenance(plan, table, "full", results)
    assert actual.runs[pretraining].facts == {"outcome": "converged"}
    assert actual.runs[pretraining].spec == plan.runs[pretraining].spec, (
        "the planned spec, by the identity in the path"
    )
    assert not actual.runs[gone].done and actual.numbers[0].value is None
    said = facts(Record(outcome=Outcome("diverged", None)))
    assert said.pop("outcome") == "diverged" and all(value is None for value in said.values())
    with pytest.raises(SpecError, match="table7 has no row 'fully' .full, no_ema, no_predictor"):
        row_provenance(plan, table, "fully", results)


def test_two_runs_are_told_apart(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = root / "smoke"
    plan = make_plan("smoke", ABLATIONS, only=["table7"])
    one, other = (plan.tables["table7"].pretrainings[row][0] for row in ("full", "no_predictor"))
    write_record(plan, other, results, metrics={"tr_r1": 18.5}, provenance={"code": "def456"})
    assert main(["diff", one, other.split("/")[1], "--scale", "smoke", "--results", str(root)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"- {one}\n+ {other}\n")
    assert "\nspec\n  objectives.mrm.predictor: true -> false\n" in text
    assert "  code: abc123 -> def456" in text and "  wall-clock: 1.5 s -> -" in text
    assert "  tr_r1: 20 -> 18.5 (-1.5)" in text and "inputs" not in text
    assert main(["diff", one, one, "--scale", "smoke", "--results", str(root)]) == 0
    assert "nothing differs" in capsys.readouterr().out
    assert main(["diff", one, "nothing", "--scale", "smoke", "--results", str(root)]) == 2
    assert "'nothing' is not a run with a record" in capsys.readouterr().err


def test_every_cell_stands_beside_the_papers(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cells.csv"
    words = [
        "compare",
        "table7",
        "--reported",
        "--scale",
        "smoke",
        "--results",
        str(root),
        "--csv",
        str(file),
    ]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    (cell,) = [line.split() for line in lines if line.strip().startswith("MAMO, MSCOCO TR")]
    assert cell[-3:] == ["20.0", "76.6", "−56.6"]
    (diverged,) = [line.split() for line in lines if line.strip().startswith("w/o EMA update, VQA")]
    assert diverged[-3:] == ["40.0", "×", "–"]
    with file.open() as opened:
        cells = list(csv.DictReader(opened))
    assert len(cells) == 15 and {cell["reported"] for cell in cells} == {"converged", "diverged"}
    assert main(["compare", "table7", "--scale", "smoke", "--results", str(root)]) == 0
    assert "nothing to compare" in capsys.readouterr().out, "one seed, and no results per item"


def test_rows_that_only_the_paper_has_are_cells_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table 4: two rows of the paper are ours too, ALBEF is its own; the retrained one is ours alone."""
    assert main(["compare", "table4", "--reported", "--scale", "smoke", "--results", str(tmp_path)]) == 0
    rows = {
        line.rsplit(",", 1)[0].strip(): line.split()
        for line in capsys.readouterr().out.splitlines()
        if "testA" in line
    }
    assert len(rows) == 4
    assert rows["MAMO"][-3:] == ["…", "72.30", "–"]
    assert rows["ALBEF"][-3:] == ["–", "65.89", "–"]
    assert rows["ALBEF-style (ITC+ITM+MLM), retrained here"][-3:] == ["…", "–", "–"]


def test_a_second_edition_is_a_second_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "own"))
    (own / "paper" / "journal").mkdir()
    text = (own / "paper" / "arxiv" / "table7.yaml").read_text().replace("76.6", "80.0")
    (own / "paper" / "journal" / "table7.yaml").write_text(text)
    monkeypatch.setattr("mamo.cli.options.ABLATIONS", own)
    words = ["compare", "--reported", "--scale", "smoke", "--results", str(root)]
    assert main([*words, "table7", "--edition", "journal"]) == 0
    assert "80.0" in capsys.readouterr().out
    assert main([*words, "table9", "--edition", "journal"]) == 0
    assert "the edition 'journal' gives no numbers for it" in capsys.readouterr().out
    assert main([*words, "table7", "--edition", "journals"]) == 2
    assert "no edition 'journals' of the paper; there are arxiv, journal" in capsys.readouterr().err
    (own / "paper" / "journal" / "table7.yaml").write_text(text.replace("80.0", "800.0"))
    assert main([*words, "table7", "--edition", "journal"]) == 2
    assert "coco_tr is 800.0, which is not a percent" in capsys.readouterr().err


NAMED = {"code": "abc123", "code_digest": "d1"}


@pytest.mark.parametrize(
    ("recorded", "says"),
    [
        (NAMED, None),
        ({"code": "abc123"}, None),  # a record of before there were digests
        ({"code": None, "code_digest": "d0"}, None),  # committed since, as it ran
        ({"code": "abc123+changes", "code_digest": "d0"}, None),
        ({"code": "abc123+changes", "code_digest": "d2"}, "differed from the commit"),
        (
            {"code": "abc123+changes", "code_digest": "d0", "code_edited": True},
            "was edited while it was made",
        ),
        ({"code": "abc123+changes"}, "differed from the commit"),
        ({"code": None, "code_digest": "d2"}, "was in no repository"),
        ({}, "was in no repository"),
        ({"code": "other", "code_digest": "d2"}, "commit other is not in this repository"),
        ({"code": "abc123", "code_digest": "d2"}, "d2, is not that of commit abc123, d1"),
        (
            NAMED | {"earlier_code": [{"code": "abc123+changes", "code_digest": "d2"}]},
            "differed from the commit",
        ),
    ],
)
def test_what_the_repository_can_name(
    recorded: dict[str, Any], says: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mamo.reporting.provenance.commit_digest", {"HEAD": "d0", "abc123": "d1"}.get)
    problem = unnamed_code(
        Record.model_validate({"outcome": {"status": "converged"}, "provenance": recorded})
    )
    assert problem is None if says is None else says in str(problem)


def test_a_published_scale_refuses_pages_of_unnamed_code(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mamo.reporting.provenance.commit_digest", {"HEAD": "d0", "abc123": "d1"}.get)
    clean = Code("abc123", False, "d0")
    monkeypatch.setattr("mamo.reporting.provenance.running_code", lambda: clean)
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "own"))
    monkeypatch.setattr("mamo.cli.options.ABLATIONS", own)
    plan, results = make_plan("smoke", own, only=["table7"]), root / "smoke"
    pretraining = plan.tables["table7"].pretrainings["full"][0]
    write_record(plan, pretraining, results, provenance={"code": "abc123+changes", "code_digest": "d2"})
    words = ["report", "table7", "--scale", "smoke", "--results", str(root), "--reports", str(tmp_path / "r")]
    assert main(words) == 0, "nobody is shown its pages"
    (tmp_path / "r/smoke/table7.md").unlink()
    scale = own / "scales" / "smoke.yaml"
    scale.write_text(scale.read_text() + "published: true\n")
    assert main(words) == 2 and not (tmp_path / "r/smoke/table7.md").exists()
    said = capsys.readouterr().err
    assert f"{pretraining}: its code, abc123+changes, differed" in said and "--any-code" in said
    assert main([*words, "--any-code"]) == 0
    write_record(plan, pretraining, results)
    assert main(words) == 0
    monkeypatch.setattr("mamo.reporting.provenance.running_code", lambda: Code("abc123", True, "d3"))
    assert main(words) == 2 and "this page itself" in capsys.readouterr().err
    (own / "scales" / "mine.yaml").write_text("extends: smoke\ntitle: Mine\n")
    assert not make_plan("mine", own, only=["table7"]).scale.published, (
        "a user's scale is not published for its parent"
    )
