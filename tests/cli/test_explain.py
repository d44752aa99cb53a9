"""`mamo explain`: the key, the file and the two values that make a run new; and what makes none new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mamo.cli.main import main
from mamo.specs import identity
from mamo.specs.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]
Explain = Callable[[str], str]


@pytest.fixture
def explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Explain:
    """A project with a record for every planned run of Table 4; gives what the command prints."""
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    (tmp_path / "params.yaml").write_text(
        "{scale: smoke, releases: null, results: results, reports: reports}\n"
    )
    monkeypatch.chdir(tmp_path)
    for run in make_plan("smoke", only=["table4"]).runs.values():
        path = run.record(Path("results/smoke"))
        path.parent.mkdir(parents=True)
        record = {
            "name": run.name,
            "spec": dict(run.spec),
            "inputs": dict(run.inputs),
            "revision": identity.REVISIONS[run.kind],
            "outcome": {"status": "converged", "reason": ""},
        }
        path.write_text(json.dumps(record))

    def command(what: str) -> str:
        assert main(["explain", what]) == 0
        return capsys.readouterr().out

    return command


def change(file: str, old: str, new: str) -> None:
    path = Path("ablations") / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_changed_key_of_the_scale_is_named_with_its_file_and_both_values(explain: Explain) -> None:
    change("scales/smoke.yaml", "lr: 1.0e-3, final_lr", "lr: 2.0e-3, final_lr")
    text = explain("table4")
    assert "optimiser.lr: 0.001 -> 0.002 (ablations/scales/smoke.yaml: pretrain.optimiser.lr)" in text
    assert "table4: 12 of its 18 runs are done, 6 to do" in text
    followers = text.split("only since their inputs do:\n")[1].split()
    assert [name.split("/")[0] for name in followers] == ["finetune"] * 3


def test_a_changed_row_is_named_with_its_table(explain: Explain) -> None:
    change(
        "table4.yaml",
        "set: {objectives.mim: null, objectives.mrm: null}",
        "set: {masking.image_ratio: 0.25, objectives.mim: null, objectives.mrm: null}",
    )
    text = explain("table4")
    key = "masking.image_ratio"
    row = "ablations/table4.yaml, row "
    line = next(line for line in text.splitlines() if key in line and "->" in line)
    assert f"{key}: 0.75 -> 0.25 ({row}" in line and line.endswith(f": {key})")
    assert text.count("->") == 1


def test_a_change_of_the_world_is_found_behind_a_pre_training(explain: Explain) -> None:
    change("scales/smoke.yaml", "sbu: 12", "sbu: 13")
    text = explain("mamo")
    assert "sbu: 12 -> 13 (ablations/scales/smoke.yaml: data.world.sbu)" in text
    assert text.count("12 -> 13") == 1 and "input data:sbu: data/sbu-" in text


def test_a_raised_revision_makes_results_old(explain: Explain, monkeypatch: pytest.MonkeyPatch) -> None:
    before = identity.REVISIONS["weights"]
    monkeypatch.setitem(identity.REVISIONS, "weights", 99)
    assert f"revision of weights: {before} -> 99 (mamo/specs/identity.py" in explain("weights/vision")


def test_words_and_comments_make_no_run_new(explain: Explain) -> None:
    for path in Path("ablations").rglob("*.yaml"):
        path.write_text(f"# A comment.\n{path.read_text()}")
    change("table4.yaml", "title: ", "title: Again, ")
    change("scales/smoke.yaml", "title: ", "title: Once more, ")
    assert "table4: 18 of its 18 runs are done, 0 to do" in explain("table4")
    text = explain("mamo")
    assert "nothing to do: results/smoke/pretrain/mamo-" in text and "->" not in text


def test_a_diverged_run_is_a_result(explain: Explain) -> None:
    record = next(Path("results/smoke/pretrain").glob("mamo-no*/record.json"))
    values = json.loads(record.read_text())
    values["outcome"] = {"status": "diverged", "reason": "the loss is not finite at step 3"}
    record.write_text(json.dumps(values))
    assert "is not tried again: the loss is not finite at step 3" in explain(record.parent.name)


def test_a_stale_page_says_what_differs(explain: Explain) -> None:
    for words in (["--collect", "results/smoke/tables/now.json"], []):
        for path in Path("results/smoke/finetune").glob("*/record.json"):
            values = json.loads(path.read_text())
            splits = ("val", "testA", "testB")
            values["metrics"] = {f"{c}{s}_accuracy": 40.0 for s in splits for c in ("", "chance/")}
            path.write_text(json.dumps(values))
        assert main(["report", "table4", *words]) == 0
    page = Path("reports/smoke/table4.md").read_text().splitlines()[0].split()[3]
    Path("results/smoke/tables/now.json").rename(f"results/smoke/tables/{page}.json")
    assert "is the planned page" in explain("table4")
    change("table4.yaml", "title: ", "title: Again, ")
    text = explain("table4")
    assert 'ablation.title: "' in text and '-> "Again, ' in text and text.count("->") == 1


def test_an_unknown_name_is_answered(explain: Explain, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tabel4"]) == 2
    assert (
        "'tabel4' is not a table or run of scale 'smoke': did you mean 'table4'?" in capsys.readouterr().err
    )
