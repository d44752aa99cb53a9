"""Real runs from one end to the other: a table through Snakemake at scale `smoke`, and real photographs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save_file

from mamo.runs.execute import evaluate, execute
from mamo.specs.overrides import merge
from mamo.specs.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
FLICKR8K = ROOT.parent / "shared" / "data" / "flickr8k"


def _reproduce(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mamo.cli", "reproduce", "--scale", "smoke", "--cores", "2"]
    places = ["--results", str(folder / "results"), "--reports", str(folder / "reports")]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*command, *places, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=900
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a user runs, so that nothing of this checkout is touched."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("ablations", "workflow", "notebooks"):
        shutil.copytree(ROOT / name, folder / name)
    for name in ("Snakefile", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "profiles").symlink_to("workflow/profiles")
    return folder


def test_a_whole_table_at_smoke_and_nothing_to_do_afterwards(checkout: Path) -> None:
    first = _reproduce("table4", folder=checkout)
    assert first.returncode == 0, first.stdout[-3000:] + first.stderr[-3000:]
    page = (checkout / "reports/smoke/table4.md").read_text(encoding="utf-8")
    assert "MAMO" in page and "ALBEF" in page and "61.9" in page
    records = [json.loads(p.read_text()) for p in (checkout / "results/smoke/finetune").glob("*/record.json")]
    assert len(records) == 3
    for record in records:
        assert record["outcome"]["status"] == "converged"
        for split in ("val", "testA", "testB"):
            assert 0 <= record["metrics"][f"{split}_accuracy"] <= 100
            assert 0 < record["metrics"][f"chance/{split}_accuracy"] < 100
    again = _reproduce("table4", folder=checkout)
    assert again.returncode == 0 and "Nothing to do" in again.stdout


def test_stored_weights_give_the_recorded_metrics_again(checkout: Path) -> None:
    plan = make_plan("smoke", ROOT / "ablations")
    results = checkout / "results" / "smoke"
    run = next(run for run in plan.by_kind("finetune") if run.record(results).is_file())
    recorded = json.loads(run.record(results).read_text())["metrics"]
    measured = evaluate(plan, run, results)
    assert measured == {name: recorded[name] for name in measured}


def test_figures_from_that_tables_models_with_examples_of_ones_own_choice(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from mamo.cli.main import main
    from mamo.figures.maps import compute_figure

    monkeypatch.chdir(checkout)
    plan, results = make_plan("smoke", ROOT / "ablations"), checkout / "results" / "smoke"
    shown = {
        name: compute_figure(plan, name, results) for name in ("figure1", "figure4", "figure5", "figure7")
    }
    assert compute_figure(plan, "figure4", results) == shown["figure4"], (
        "the same models draw the same figure"
    )
    for name, values in shown.items():
        for example in values["examples"]:
            assert set(example["models"]) == {model.key for model in plan.figures[name].figure.models}
    words = shown["figure1"]["examples"][0]
    assert all(len(own["maps"]) == len(words["words"]) for own in words["models"].values())
    assert words["models"]["mamo"]["maps"] != words["models"]["albef_style"]["maps"]
    for example in shown["figure5"]["examples"]:
        assert len(example["models"]["mamo"]["values"]) == len(example["words"]) and example["patches"]
    assert all(example["box"] for example in shown["figure7"]["examples"])
    key = shown["figure4"]["examples"][-1]["image"]
    chosen = ["--scale", "smoke", "--image", key, "--text", "a red cat", "--collect", "mine.json"]
    assert main(["figure", "figure4", *chosen]) == 0
    (mine,) = json.loads((checkout / "mine.json").read_text())["examples"]
    assert (mine["image"], mine["words"]) == (key, ["a", "red", "cat"]) and mine["masked"] in (1, 2)
    assert main(["figure", "figure8", "--scale", "smoke", "--out", "no.png"]) == 1
    said = capsys.readouterr().err
    assert "figure8 is not made yet" in said and "finetune/vqa-mamo-" in said


@pytest.mark.slow
def test_the_documented_way_to_an_ablation_leads_to_its_section(checkout: Path) -> None:
    """docs/ablations.md to the letter: its file under its name, then its commands in their order."""
    text = (ROOT / "docs" / "ablations.md").read_text(encoding="utf-8")
    fences = re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    content = next(block for language, block in fences if language == "yaml")
    (name,) = re.findall(r"Save this as `(ablations/\w+\.yaml)`", text)
    (checkout / name).write_text(content, encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    lines = [line for language, block in fences if language == "bash" for line in block.splitlines()]
    assert lines[0] == "source .venv/bin/activate"  # which sets PATH as above
    for line in lines[1:]:
        done = subprocess.run(
            line, shell=True, cwd=checkout, env=environment, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, f"{line}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        if line.startswith("mamo dev lint"):
            assert "    target.momentum: 0.995 → 0.999\n" in done.stdout
    reports = checkout / "reports" / "smoke"
    page = (reports / "momentum.md").read_text(encoding="utf-8")
    assert "# Momentum of the target network" in page and "## Against MAMO" in page
    assert "test images and training seeds (2 per row)" in page
    assert (reports / "momentum.csv").is_file() and "momentum 0.999" in (reports / "momentum.tex").read_text()
    overview = (reports / "README.md").read_text(encoding="utf-8")
    assert "## [Momentum of the target network](momentum.md)" in overview
    assert "momentum,fast,tr," in (reports / "statistics.csv").read_text(encoding="utf-8")
    assert "momentum:" in (checkout / "dvc.yaml").read_text(encoding="utf-8")


@pytest.mark.skipif(not FLICKR8K.is_dir(), reason="needs Flickr8k's release as ../shared/data/flickr8k")
def test_real_photographs_from_release_to_recall(tmp_path: Path) -> None:
    import yaml

    ablations = tmp_path / "ablations"
    shutil.copytree(ROOT / "ablations", ablations)
    scale = ablations / "scales" / "flickr8k.yaml"
    teacher = tmp_path / "teacher.safetensors"
    save_file(pytest.importorskip("timm").create_model("tf_efficientnet_lite0").state_dict(), teacher)
    vision = {
        "name": str(teacher),
        "teacher": {"architecture": "tf_efficientnet_lite0", "crops": 0},
        "training": {"steps": 3, "batch_size": 8},
    }
    quick = {
        "data": {"datasets": {"flickr8k": {"limits": {"train": 200, "val": 20, "test": 50}}}},
        "weights": {"vision": vision, "text": {"training": {"steps": 5}}},
        "pretrain": {
            "schedule": {"epochs": 1, "steps_per_epoch": 4, "warmup_steps": 1},
            "objectives": {"itm_group": 32},
            "batch_size": 32,
        },
        "jobs": {"retrieval_flickr8k": {"schedule": {"epochs": 1, "steps_per_epoch": 2}, "batch_size": 32}},
    }
    scale.write_text(yaml.safe_dump(merge(yaml.safe_load(scale.read_text()), quick)))
    plan = make_plan("flickr8k", ablations, only=["flickr8k"], seeds=1)
    fine_tuned = next(cell.runs[0] for cell in plan.tables["flickr8k"].cells if cell.row == "mamo")
    keys = plan.closure([fine_tuned])
    for run in plan.runs.values():
        if run.key in keys:
            record = execute(plan, run, tmp_path / "results", FLICKR8K.parent)
    manifest = json.loads(
        (plan.find("data", "flickr8k").directory(tmp_path / "results") / "manifest.json").read_text()
    )
    assert {name: split["images"] for name, split in manifest["splits"].items()} == {
        "train": 200,
        "val": 20,
        "test": 50,
    }
    metrics = record.metrics
    assert metrics["chance/ir_r1"] == pytest.approx(2.0)
    assert 0 <= metrics["tr_r1"] <= metrics["tr_r5"] <= metrics["tr_r10"] <= 100
