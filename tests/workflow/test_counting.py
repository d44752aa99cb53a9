"""Test that what was announced is counted from what exists, whatever Snakemake says."""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
from pathlib import Path

import pytest
from workflow_bench import ROOT, Bench

from mamo.cli import options
from mamo.cli.reproduce import _snakemake
from mamo.cli.snakemakes import clear_stale_markers
from mamo.cli.status import log_of, state_of
from mamo.specs.overrides import SpecError
from mamo.specs.params import read_config, read_params
from mamo.specs.plan import make_plan

MAMO = (sys.executable, "-m", "mamo.cli")
NAME_MAX = 255


def mark(folder: Path, file: str) -> Path:
    """A mark of an unfinished job, as Snakemake leaves it where it is killed."""
    text = base64.urlsafe_b64encode(file.encode()).decode()
    parts = [text[i : i + NAME_MAX - 1] for i in range(0, len(text), NAME_MAX - 1)]
    path = folder / ".snakemake" / "incomplete" / Path(*[f"@{part}" for part in parts[:-1]], parts[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"external_jobid": null}')
    return path


def test_marks_of_files_that_are_there_are_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    long = "/".join(["results", *("x" * 100 for _ in range(4)), "record.json"])
    for name in ("made.json", long):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    marks = {name: mark(tmp_path, name) for name in ("made.json", long, "open.json")}
    (tmp_path / ".snakemake" / "incomplete" / "migration_underway").touch()
    assert sorted(clear_stale_markers()) == sorted(["made.json", long])
    assert [name for name, path in marks.items() if path.exists()] == ["open.json"]


@pytest.mark.slow
def test_what_lies_behind_a_killed_snakemakes_run_and_a_standing_page_is_made(tmp_path: Path) -> None:
    project = Bench.create(tmp_path)
    profile = {"SNAKEMAKE_PROFILE": "workflow/profiles/default"}
    project.variables |= profile
    assert project.snakemake("--", "first").returncode == 0
    results, page = tmp_path / "results" / "small", tmp_path / "reports" / "small" / "first.md"
    # Killed while a pre-training ran, which went on by itself.
    (pretraining,) = (results / "pretrain").glob("*no_mrm*")
    (finetuning,) = (results / "finetune").glob("*no_mrm*")
    shutil.rmtree(finetuning)
    shutil.rmtree(results / "tables")
    page.unlink()
    mark(tmp_path, str((pretraining / "record.json").relative_to(tmp_path)))
    done = project.call(*MAMO, "reproduce", "first")
    assert done.returncode == 0 and ": 1 runs. See" in done.stdout, done.stdout
    assert (finetuning / "record.json").is_file() and page.is_file()
    # Its page and the fine-tuning that read it keep no missing run from being made.
    for gone, name in ((pretraining, "pretrain"), (finetuning, "finetune")):
        shutil.rmtree(gone)
        (tmp_path / "executed").unlink()
        done = project.call(*MAMO, "reproduce", "first")
        assert done.returncode == 0 and ": 1 runs. See" in done.stdout, done.stdout
        assert (gone / "record.json").is_file()
        assert [line.split("/")[0] for line in project.executed] == [name], (
            "and nothing else is made once more"
        )
    assert "Nothing to do" in project.call(*MAMO, "reproduce", "first").stdout


@pytest.mark.slow
def test_one_seed_is_made_without_the_other_seeds_and_without_a_page(tmp_path: Path) -> None:
    project = Bench.create(tmp_path)
    project.variables |= {"SNAKEMAKE_PROFILE": "workflow/profiles/default"}
    command = (*MAMO, "reproduce", "first", "--seeds", "3", "--seed", "1")
    done = project.call(*command)
    assert done.returncode == 0 and "mamo results pack --scale small" in done.stdout, done.stdout
    results = tmp_path / "results" / "small"
    made = {
        kind: [path.parent.name for path in (results / kind).glob("*/record.json")]
        for kind in ("pretrain", "finetune")
    }
    assert len(made["pretrain"]) == len(made["finetune"]) == 2, made
    assert all("seed_1" in name for names in made.values() for name in names), made
    assert (results / "data").is_dir(), "what they need is made too"
    assert not (tmp_path / "reports").exists()
    assert "Nothing to do" in project.call(*command).stdout


def test_a_snakemake_that_makes_nothing_is_no_success(tmp_path: Path) -> None:
    project = Bench.create(tmp_path)
    project.variables |= {"SNAKEMAKE_PROFILE": "workflow/profiles/default"}
    (tmp_path / "bin" / "snakemake").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "bin" / "snakemake").chmod(0o755)
    done = project.call(*MAMO, "reproduce", "first")
    assert done.returncode == 1 and "Done" not in done.stdout, done.stdout
    assert "Snakemake has ended without an error, but left out:" in done.stdout
    assert "\n  first\n" in done.stdout and "\n  pretrain/mamo-epochs_10-" in done.stdout


def test_a_run_that_was_tried_elsewhere_is_to_do_here(tmp_path: Path) -> None:
    run = make_plan("smoke").find("data", "world")
    logs, here = tmp_path / "logs", tmp_path / "here"
    log_of(run, logs).parent.mkdir(parents=True)
    log_of(run, logs).touch()
    assert state_of(run, here, logs) == "to do"
    run.directory(here).mkdir(parents=True)
    assert state_of(run, here, logs) == "failed"


@pytest.mark.parametrize("name", ["2024", "0012", "1e3", "True", "null", "a b", "[x]", "größe", "results"])
def test_a_folder_reaches_snakemake_as_it_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cli = pytest.importorskip("snakemake.cli")
    monkeypatch.chdir(ROOT)
    given = dict.fromkeys(("profile", "record", "reports", "releases", "scale", "seeds"))
    words = _snakemake(argparse.Namespace(results=name, tables=[], cores="1", **given), [])
    config = cli.parse_config(words[words.index("--config") + 1 : words.index("--")])
    assert config["results"] == name and config["scale"] == "smoke"


def test_a_home_is_one_place_whoever_reads_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("{results: ~/runs, reports: '~', scale: smoke}\n")
    expected = {"results": f"{tmp_path}/runs", "reports": str(tmp_path)}
    read = read_params(Path("params.yaml"))
    assert {name: getattr(read, name) for name in expected} == expected
    assert read_config({"results": "~/runs", "reports": "~", "scale": "~"}) == expected | {"scale": "~"}
    assert options.setting(argparse.Namespace(results="~/other"), "results") == f"{tmp_path}/other"
    with pytest.raises(SpecError, match="there is no user named nobody-of-that-name"):
        options.setting(argparse.Namespace(results="~nobody-of-that-name/x"), "results")


@pytest.mark.parametrize("text", ["2024", "0012", "1.5", "true", "[a]"])
def test_what_yaml_takes_for_something_else_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"results: {text}\n")
    with pytest.raises(SpecError, match=r"params.yaml: results: YAML takes .* in quotes"):
        read_params(path)
    with pytest.raises(SpecError, match="in quotes"):
        read_config({"results": 2024})
