"""Test what leaves the workbench: names, modes, cards, hubs, and folders that transformers opens without the package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import bare_venv
import huggingface_hub
import pytest
import tiny
import torch
import yaml
from trained import answering, finish, finish_inputs, judging, noise, pretraining

import mamo
from mamo.cli.main import main
from mamo.published import load
from mamo.published.about import about_of
from mamo.published.export import export
from mamo.published.load import LoadError
from mamo.runs.run import read_record
from mamo.specs.identity import Run
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).parents[2] / "ablations"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return tmp_path / "results/smoke"


def metadata(folder: Path) -> dict[str, Any]:
    """The YAML of a card."""
    return yaml.safe_load((folder / "README.md").read_text().split("---")[1])


def test_the_card_of_a_model_of_the_generated_world(plan: Plan, results: Path, tmp_path: Path) -> None:
    run = answering(plan, results)
    finish_inputs(plan, run, results)
    export(plan, run, results, tmp_path / "out")
    card = metadata(tmp_path / "out")
    assert "datasets" not in card and "base_model" not in card and "synthetic" in card["tags"]
    assert card["pipeline_tag"] == "visual-question-answering" and card["license"] == "other"
    assert card["license_name"] and (tmp_path / "out" / card["license_link"]).is_file()
    (index,) = card["model-index"]
    (result,) = index["results"]
    assert index["name"] == run.id and result["dataset"]["type"] == "synthetic"
    assert result["metrics"] == [{"type": "accuracy", "value": 41.25, "name": "accuracy"}]
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["transform"].keys() == {"size", "interpolation", "mean", "std"}, (
        "no augmentation of training"
    )
    assert config["task"] == {"task": "vqa", "decoder_layers": 3, "min_answer_count": 2, "shortlist": 128}
    assert "only generated scenes" in repr(mamo.load(tmp_path / "out"))


def test_the_card_of_a_model_of_real_releases(tmp_path: Path) -> None:
    plan = make_plan("paper", ABLATIONS)
    results = tmp_path / "results/paper"
    run, _ = pretraining(plan, results)
    finish_inputs(plan, run, results)
    # A job that evaluates the model as it is scores it; one that trains on scores another model.
    scored = next(
        r
        for r in plan.by_kind("finetune")
        if r.inputs["init"] == run.key and r.spec["schedule"]["epochs"] == 0 and r.spec["task"] == "retrieval"
    )
    directory = finish(scored, results, metrics={"tr_r1": 62.5, "chance/tr_r1": 1.0})
    other = plan.find("finetune", "vqa-mamo")
    finish(other, results, metrics={"accuracy": 70.0})
    import pyarrow as pa

    ranks = [1, 1, 1, 2, 3, 1, 1, 9]
    items = {"direction": ["tr"] * 8 + ["ir"] * 8, "index": [*range(8)] * 2, "rank": ranks * 2}
    table = pa.table(items)
    with pa.ipc.new_file(str(directory / "items.arrow"), table.schema) as writer:
        writer.write_table(table)
    export(plan, run, results, tmp_path / "out")
    card = metadata(tmp_path / "out")
    assert card["datasets"] == ["coco", "visual_genome", "sbu", "cc3m"] and "synthetic" not in card["tags"]
    assert card["base_model"] == ["timm/vit_base_patch16_224.augreg_in1k", "google-bert/bert-base-uncased"]
    (result,) = card["model-index"][0]["results"]
    (metric,) = result["metrics"]
    lower, upper = metric["args"]["interval_95_percent"]
    assert metric["value"] == 62.5 and 20 < lower < 62.5 < upper < 100
    assert result["dataset"]["name"] == scored.spec["data"][0]
    said = repr(mamo.load(tmp_path / "out"))
    assert f"  scored Zero-shot Flickr30K: text R@1 62.5 [{lower:.1f}, {upper:.1f}]\n" in f"{said}\n"


def test_a_distilled_encoder_owes_to_its_teacher(tmp_path: Path) -> None:
    plan = make_plan("flickr8k", ABLATIONS)
    results = tmp_path / "results/flickr8k"
    run = plan.by_kind("pretrain")[0]
    finish_inputs(plan, run, results)
    finish(run, results)
    about = about_of(read_record(run, results), results)
    assert about.start == ("timm/tf_efficientnet_lite0.in1k",) and about.saw == "flickr8k"


def test_every_file_follows_the_umask_and_half_precision_takes_half_the_bytes(
    plan: Plan, results: Path, tmp_path: Path
) -> None:
    run, _ = pretraining(plan, results)
    for path in results.rglob("*"):  # as libraries leave them that let the owner alone read
        if path.is_file():
            path.chmod(0o600)
    before = os.umask(0o022)
    try:
        export(plan, run, results, tmp_path / "whole")
        export(plan, run, results, tmp_path / "half", half=True)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "whole").iterdir()} == {0o644}
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    whole, half = mamo.load(tmp_path / "whole"), mamo.load(tmp_path / "half")
    assert half.network.temperature.dtype == torch.float32
    texts = tiny.TEXTS[:3]
    torch.testing.assert_close(half.embed_texts(texts), whole.embed_texts(texts), atol=5e-3, rtol=5e-3)
    assert not torch.equal(half.embed_texts(texts), whole.embed_texts(texts))


def test_a_model_of_the_package_is_loaded_by_its_name(
    plan: Plan,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, task = pretraining(plan, results)
    monkeypatch.setattr(load, "_models", lambda: tmp_path / "models")
    words = ["export", "--scale", "smoke", "--results", str(results.parent), "mamo", "tiny", "--bundle"]
    monkeypatch.chdir(ABLATIONS.parent)
    for _ in range(2):  # the second takes the first one's place
        assert main(words) == 0
    assert load.bundled() == ["tiny"] and 'mamo.load("tiny")' in capsys.readouterr().out
    assert 'mamo.load("tiny")' in (tmp_path / "models/tiny/README.md").read_text()
    assert not [path for path in (tmp_path / "models").rglob("*.py")], "the package itself is its code"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()  # a folder of this name without a model is none
    model = mamo.load("tiny")
    expected = task.network.state_dict()["vision.class_token"]
    torch.testing.assert_close(model.network.vision.class_token.data, expected, atol=1e-3, rtol=1e-3)
    with pytest.raises(
        LoadError, match=r"'tinny' .*\(tiny\), did you mean 'tiny', and not a name on the hub"
    ):
        mamo.load("tinny")
    monkeypatch.chdir(ABLATIONS.parent)
    monkeypatch.setattr("mamo.published.export.BUNDLE_LIMIT", 1000)
    assert main(words) == 1
    assert "at most" in capsys.readouterr().err and load.bundled() == ["tiny"], "the older one stays"
    assert main([*words[:-2], "a/b", "--bundle"]) == 1
    assert main([*words, "--push", "someone/tiny"]) == 2


def test_a_run_is_loaded_by_its_name(
    plan: Plan, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run, _ = pretraining(plan, results)
    monkeypatch.chdir(ABLATIONS.parent)
    assert mamo.load("mamo", scale="smoke", results=results.parent).config["run"] == run.id
    words = ["export", "--scale", "smoke", "--results", str(results.parent), "mamoo", "out"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "is not a pretrain or finetune run" in said and "mamo-" in said and len(said.splitlines()) <= 6


def test_the_hubs_cache_serves_without_a_network(
    plan: Plan, results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = pretraining(plan, results)
    commit = "0123456789abcdef0123456789abcdef01234567"
    store = tmp_path / "cache/models--someone--mamo-tiny"
    export(plan, run, results, store / "snapshots" / commit)
    (store / "refs").mkdir()
    (store / "refs/main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert mamo.load("someone/mamo-tiny").config["run"] == run.id
    with pytest.raises(LoadError, match="'someone/other' is not a folder here, and could not be fetched"):
        mamo.load("someone/other")


class Hub:
    """Stands in for the hub: keeps what it is sent."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.down = False

    def create_repo(self, name: str, exist_ok: bool) -> str:
        self.calls.append(("create", name))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, repo_id: str, folder_path: Path, commit_message: str) -> None:
        if self.down:
            raise OSError("no network")
        self.calls.append(("upload", {path.name for path in Path(folder_path).iterdir()}))


def test_push_uploads_what_was_exported(
    plan: Plan,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretraining(plan, results)
    hub = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: hub)
    words = ["export", "--scale", "smoke", "--results", str(results.parent), "mamo"]
    assert main([*words, str(tmp_path / "out"), "--push", "someone/mamo-tiny"]) == 0
    assert "https://huggingface.co/someone/mamo-tiny" in capsys.readouterr().out
    (created, uploaded) = hub.calls
    assert created == ("create", "someone/mamo-tiny")
    assert {"config.json", "model.safetensors", "README.md", "modeling_mamo.py"} <= uploaded[1]
    assert main([*words, str(tmp_path / "bad"), "--push", "no name"]) == 1
    assert "write USER/NAME" in capsys.readouterr().err and not (tmp_path / "bad").exists()
    hub.down = True
    assert main([*words, str(tmp_path / "down"), "--push", "someone/mamo-tiny"]) == 1
    assert (
        "hf upload someone/mamo-tiny" in capsys.readouterr().err and (tmp_path / "down/config.json").is_file()
    )


FOREIGN = """
import importlib.util, json, sys
import torch
from transformers import AutoModel, AutoProcessor, AutoImageProcessor, AutoTokenizer

for package in ("mamo", "timm", "pyarrow", "torchvision", "cv2", "matplotlib"):
    assert importlib.util.find_spec(package) is None, package
given = json.loads(sys.argv[1])
torch.set_num_threads(1)
found = {}

def load(name):
    folder = given["folders"][name]
    model = AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert not model.training and model.dtype == torch.float32
    return model, AutoProcessor.from_pretrained(folder, trust_remote_code=True)

model, processor = load("pretrained")
assert type(processor).__name__ == "MamoProcessor" and type(model).__name__ == "MamoModel"
inputs = processor(images=given["images"], text=given["texts"])
found["similarity"] = model.similarity(**inputs)
found["match"] = model.match(**inputs)
with torch.no_grad():
    found["forward"] = model(**inputs).similarity
half, processor_ = load("half")
found["half"] = half.similarity(**processor_(images=given["images"], text=given["texts"]))
AutoImageProcessor.from_pretrained(given["folders"]["pretrained"], trust_remote_code=True)
# Saved again and read back, it is the same.
model.save_pretrained(given["again"])
processor.save_pretrained(given["again"])
again = AutoModel.from_pretrained(given["again"], trust_remote_code=True)
processor = AutoProcessor.from_pretrained(given["again"], trust_remote_code=True)
found["again"] = again.similarity(**processor(images=given["images"], text=given["texts"]))

model, processor = load("vqa")
index, score = model.answer(**processor(images=given["images"], text=given["questions"]), **processor.candidates())
found["answers"] = [processor.answers[i] for i in index.tolist()]

model, processor = load("nlvr2")
left, right = (processor(images=images)["pixel_values"] for images in (given["images"], given["images"][::-1]))
found["judged"] = model.judge(left, right, **processor(text=given["texts"]))
torch.save(found, given["out"])
"""


@pytest.mark.slow
def test_transformers_alone_gives_bitwise_the_same(plan: Plan, results: Path, tmp_path: Path) -> None:
    """In an environment of torch, transformers and Pillow, without this package."""
    runs: dict[str, Run] = {
        "pretrained": pretraining(plan, results)[0],
        "half": plan.find("pretrain", "mamo"),
        "vqa": answering(plan, results),
        "nlvr2": judging(plan, results),
    }
    folders = {name: tmp_path / f"{name}-model.1" for name in runs}  # a name that is none of a module
    for name, run in runs.items():
        export(plan, run, results, folders[name], half=name == "half")
    images, texts = noise(tmp_path, 3), tiny.TEXTS[:3]
    questions = ["what is on the grass", "what is it", "is it a dog"]
    given = {
        "folders": {name: str(folder) for name, folder in folders.items()},
        "images": [str(path) for path in images],
        "texts": texts,
        "questions": questions,
        "again": str(tmp_path / "again"),
        "out": str(tmp_path / "found.pt"),
    }
    python = bare_venv.make(tmp_path / "venv", "torch", "transformers", "pillow")
    environment = {"PATH": os.environ["PATH"], "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-I", "-c", FOREIGN, json.dumps(given)],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    actual = torch.load(tmp_path / "found.pt")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        own = {name: mamo.load(folder) for name, folder in folders.items()}
        expected = own["pretrained"].similarity(images, texts)
        for name in ("similarity", "forward", "again"):
            assert torch.equal(actual[name], expected), name
        assert torch.equal(actual["match"], own["pretrained"].match(images, texts))
        assert torch.equal(actual["half"], own["half"].similarity(images, texts))
        assert actual["answers"] == own["vqa"].answer(images, questions)
        assert torch.equal(actual["judged"], own["nlvr2"].judge(images, images[::-1], texts))
    finally:
        torch.set_num_threads(threads)
    shutil.rmtree(tmp_path / "venv")
