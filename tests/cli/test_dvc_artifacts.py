"""Recording runs in DVC's cache, on a real repository of git and DVC without any workflow."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mamo.cli.dvc_artifacts import DvcError, artifact, record_runs
from mamo.files.stored import checksums
from mamo.specs.code import git_environment
from mamo.specs.identity import REVISIONS, Run
from mamo.specs.plan import Plan, make_plan

pytest.importorskip("dvc")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed: apt-get install git"),
]
ROOT = Path(__file__).resolve().parents[2]


def call(*words: str) -> str:
    environment = git_environment() | {"DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def plan() -> Plan:
    return make_plan("smoke", ROOT / "ablations", only=["table4"])


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    call("git", "init", "--quiet")
    call(sys.executable, "-m", "dvc", "init", "--quiet")
    shutil.copy(ROOT / ".gitignore", folder)
    return folder


def finish(run: Run, results: Path) -> Path:
    """A made run with weights."""
    directory = run.directory(results)
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_text(run.digest * 100)
    record = {"run": run.id, "kind": run.kind, "spec": dict(run.spec), "inputs": dict(run.inputs),
              "revision": REVISIONS[run.kind], "outcome": {"status": "converged"}, "metrics": {},
              "files": checksums(directory)}  # fmt: skip
    run.record(results).write_text(json.dumps(record))
    return directory


def test_results_on_another_disk(
    project: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``results`` is a symlink, as on clusters with a scratch disk. A user's own settings of DVC hold, and git sees nothing."""
    own, cache = tmp_path / "own", tmp_path / "cache"
    own.mkdir()
    (own / "config").write_text(f"[cache]\n    dir = {cache}\n")
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(own))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    Path("results").symlink_to(scratch)
    run, results = plan.by_kind("pretrain")[0], Path("results/smoke")
    weights = finish(run, results) / "model.safetensors"
    (new,) = record_runs(plan, [run.key], results)
    assert new == artifact(run, "smoke") and "md5" in new.read_text()
    assert not list(scratch.rglob(".gitignore")) and len(list(cache.rglob("*"))) > 3
    assert "results" not in call("git", "status", "--short")
    shutil.rmtree(scratch / "smoke")
    call(sys.executable, "-m", "dvc", "checkout", str(new))
    assert weights.read_text() == run.digest * 100
    assert "up to date" in call(sys.executable, "-m", "dvc", "status", str(new))
    assert record_runs(plan, [run.key], results) == []


def test_what_cannot_be_recorded_is_said_before_dvc_is_asked(
    project: Path, plan: Plan, tmp_path: Path
) -> None:
    run, away = plan.by_kind("pretrain")[0], tmp_path / "away"
    finish(run, away / "smoke")
    with pytest.raises(DvcError, match=f"`ln -s {away} results` here"):
        record_runs(plan, [run.key], away / "smoke")
    damaged = finish(run, Path("results/smoke")) / "model.safetensors"
    damaged.write_text("others")
    with pytest.raises(
        DvcError, match=r"model.safetensors: is damaged or was replaced .* It is not recorded"
    ):
        record_runs(plan, [run.key], Path("results/smoke"))
    assert not list(Path("artifacts").rglob("*.dvc"))


def test_a_repository_of_the_environment_is_not_the_projects(
    project: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mamo.cli.dvc_artifacts import check_repository

    other = tmp_path / "other"
    call("git", "init", "--quiet", str(other))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    os.rename(".git", tmp_path / "gone")
    with pytest.raises(DvcError, match="not a git repository"):
        check_repository()
