"""Test which code a record names: its own repository's, with every file that runs, and nothing else of the checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mamo.runs.provenance import BEGUN, Stopwatch
from mamo.specs import code

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
ROOT = Path(__file__).resolve().parents[2]
SAYS = "from mamo.specs.code import running_code as code; c = code(); print(c.commit, c.changed, c.digest)"


def git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=A", "-c", "user.email=a@example.org", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=code.git_environment())
    return done.stdout.strip()


def said(folder: Path, **variables: str) -> tuple[str, bool, str]:
    """Commit, whether it was changed, and the digest, as a process of that checkout finds them."""
    done = subprocess.run(
        [sys.executable, "-c", SAYS],
        env=os.environ | {"PYTHONPATH": str(folder)} | variables,
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    commit, changed, digest = done.stdout.split()
    return commit, changed == "True", digest


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the package's code, committed, and something else beside it."""
    folder = tmp_path / "checkout"
    for file in ("__init__.py", "specs/__init__.py", "specs/code.py"):
        (folder / "mamo" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "mamo" / file).write_text((ROOT / "mamo" / file).read_text() if "code" in file else "")
    (folder / "reports").mkdir()
    (folder / "reports" / "table5.md").write_text("a page")
    (folder / ".gitignore").write_text("/mamo/ignored.py\n__pycache__/\n")
    git(tmp_path, "init", "--quiet", str(folder))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", "Code")
    return folder


def test_reports_that_the_workflow_writes_do_not_change_the_code(checkout: Path) -> None:
    before = said(checkout)
    assert before[:2] == (git(checkout, "rev-parse", "--short=12", "HEAD"), False)
    (checkout / "reports" / "table5.md").write_text("another page")
    (checkout / "reports" / "new.md").write_text("a new page")
    assert said(checkout) == before
    git(checkout, "commit", "--quiet", "-am", "Pages")
    commit, changed, digest = said(checkout)
    assert (changed, digest) == (False, before[2]) and commit != before[0], "the same code by another commit"


@pytest.mark.parametrize("file", ["specs/code.py", "untracked.py", "ignored.py", "data/glyphs.json"])
def test_any_file_of_the_package_counts_whatever_git_knows_of_it(checkout: Path, file: str) -> None:
    commit, _, digest = said(checkout)
    path = checkout / "mamo" / file
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{path.read_text() if path.exists() else ''}\nX = 1\n")
    actual = said(checkout)
    assert actual[:2] == (commit, True) and actual[2] != digest
    git(checkout, "add", "--force", "--all")
    git(checkout, "commit", "--quiet", "-m", "More code")
    assert said(checkout) == (git(checkout, "rev-parse", "--short=12", "HEAD"), False, actual[2])


def test_a_change_that_git_was_told_to_overlook_counts(checkout: Path) -> None:
    git(checkout, "update-index", "--assume-unchanged", "mamo/specs/__init__.py")
    (checkout / "mamo/specs/__init__.py").write_text("X = 1\n")
    assert git(checkout, "status", "--porcelain") == "" and said(checkout)[1]


def test_another_repository_of_the_environment_is_not_the_codes(checkout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", str(other))
    git(other, "commit", "--quiet", "--allow-empty", "-m", "Another history")
    expected = said(checkout)
    assert expected[0] != git(other, "rev-parse", "--short=12", "HEAD")
    places = {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(other), "GIT_COMMON_DIR": str(other / ".git"),
              "GIT_INDEX_FILE": str(other / ".git/index"), "GIT_OBJECT_DIRECTORY": str(other / ".git/objects")}  # fmt: skip
    for name, value in places.items():
        assert said(checkout, **{name: value}) == expected, name
    assert said(checkout, **places) == expected


def test_the_repository_around_an_installed_package_is_not_its_own(checkout: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    git(tmp_path, "init", "--quiet", str(project))
    git(project, "commit", "--quiet", "--allow-empty", "-m", "A user's project")
    site = project / ".venv/lib/site-packages"
    shutil.copytree(checkout / "mamo", site / "mamo")
    commit, changed, digest = said(site)
    assert (commit, changed) == ("None", False) and digest == said(checkout)[2]


def test_a_record_tells_of_an_edit_while_its_run_was_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mamo.runs.provenance.running_code", lambda: code.Code("abc", False, "1"))
    monkeypatch.setattr("mamo.runs.provenance.tree_digest", lambda package: "1")
    assert Stopwatch(tmp_path).provenance().code == "abc"
    stopwatch = Stopwatch(tmp_path)
    monkeypatch.setattr("mamo.runs.provenance.tree_digest", lambda package: "2")
    assert stopwatch.provenance().code == "abc+changes"


def test_a_run_that_goes_on_under_other_code_names_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mamo.runs.provenance.tree_digest", lambda package: "2")

    def begin(digest: str) -> Stopwatch:
        made = code.Code("abc", digest == "1", digest)
        monkeypatch.setattr("mamo.runs.provenance.running_code", lambda: made)
        return Stopwatch(tmp_path)

    begin("1")
    assert "earlier_code" not in begin("2").provenance().as_json(), "nothing came of the first"
    begin("1")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step-000000003-aa.pt").touch()
    actual = begin("2").provenance().as_json()
    assert list(actual["earlier_code"]) == [{"code": "abc+changes", "code_digest": "1"}]
    assert actual["code"] == "abc" and len(json.loads((tmp_path / BEGUN).read_text())) == 2
