"""DVC over Snakemake, on a real repository, cache and remote; only the runs themselves are stood in for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml
from stand_in import metric
from workflow_bench import ROOT, Bench

from mamo.cli.dvc_artifacts import write_tracked_json
from mamo.specs.identity import REVISIONS, Run
from mamo.specs.plan import make_plan

pytest.importorskip("dvc")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed: apt-get install git"),
]

STAND_IN = '#!/bin/sh\nexec "{python}" "{here}/stand_in.py" "$@"\n'
# DVC's own words, Snakemake's, and ours.
REFUSED = (
    "is busy, it is being blocked by",
    "Unable to acquire lock",
    "cannot be locked",
    "works in this folder",
)
FIRST_CHAIN = ["finetune/retrieval_flickr30k-mamo-{}-epochs_10", "pretrain/mamo-{}-epochs_10"]


class Project(Bench):
    """A project under git and DVC, with the code in it, and a profile of its own named by the environment."""

    def run(self, *words: str, status: int | None = 0) -> str:
        """A command's output; forgets which runs were executed before."""
        (self.folder / "executed").unlink(missing_ok=True)
        done = self.call(*words)
        assert status is None or done.returncode == status, done.stdout
        return done.stdout

    def dvc(self, *words: str, status: int | None = 0) -> str:
        return self.run(sys.executable, "-m", "dvc", *words, status=status)

    def git(self, *words: str) -> str:
        return self.run("git", "-c", "user.name=A", "-c", "user.email=a@example.org", *words)

    def commit(self, words: str = "A state") -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", words)

    def copy(self, folder: Path) -> Project:
        return Project(Path(shutil.copytree(self.folder, folder, symlinks=True)), _variables(folder))

    def clone(self, folder: Path) -> Project:
        self.run("git", "clone", "--quiet", str(self.folder), str(folder))
        shutil.copytree(self.folder / "bin", folder / "bin")
        return Project(folder, _variables(folder))

    def shown(self, table: str) -> dict[str, dict[str, float]]:
        """The values in git of a table, after a check that its page shows the same."""
        values = json.loads((self.folder / f"reports/small/metrics/{table}.json").read_text())
        page = (self.folder / f"reports/small/{table}.md").read_text()
        for row in values.values():
            assert f"{row['tr']:.1f} |" in page
        return values

    def planned(self, table: str) -> dict[str, dict[str, float]]:
        """Return what the ablation files as they are now would give."""
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            plan = make_plan("small")
        finally:
            os.chdir(here)
        cells = plan.tables[table].cells
        return {cell.row: {cell.column: metric(plan.runs[cell.runs[0]].digest)} for cell in cells}


def _variables(folder: Path) -> dict[str, str]:
    return {"PYTHONPATH": str(folder), "SNAKEMAKE_PROFILE": str(folder / "own"), "DVC_NO_ANALYTICS": "1"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose first table has been made by DVC and committed."""
    folder = tmp_path_factory.mktemp("dvc") / "project"
    folder.mkdir()
    Bench.create(folder)
    project = Project(folder, _variables(folder))
    shutil.copytree(ROOT / "mamo", folder / "mamo", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    with (folder / ".gitignore").open("a") as file:
        file.write("/bin/\n/executed\n/cache/\n")
    (folder / "bin" / "mamo").write_text(
        STAND_IN.format(python=sys.executable, here=ROOT / "tests" / "support")
    )
    (folder / "own").mkdir()
    (folder / "own" / "config.yaml").write_text("cores: 2\n")
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc")
    shutil.copy(ROOT / ".dvc" / ".gitignore", folder / ".dvc")
    project.git("init", "--quiet", "--initial-branch", "main")
    project.run("mamo", "dvc", "write")
    project.commit("Before any run")
    project.dvc("repro", "first")
    assert sorted(set(project.executed)) == project.executed and len(project.executed) == 16
    project.commit("First table")
    return project


@pytest.fixture
def project(made: Project, tmp_path: Path) -> Project:
    return made.copy(tmp_path / "project")


def test_repro_runs_what_is_lacking_and_a_second_call_nothing(project: Project) -> None:
    assert "Data and pipelines are up to date" in project.dvc("repro", "first")
    assert project.executed == [] and project.shown("first") == project.planned("first")
    project.dvc("repro", "second")
    assert project.executed == [name.format("image_ratio_0.5") for name in FIRST_CHAIN], (
        "the shared row is there"
    )
    project.write_table("first", "objectives.mim: null")
    project.dvc("repro", "first")
    assert project.executed == [name.format("no_mim") for name in FIRST_CHAIN]
    assert project.shown("first") == project.planned("first")
    project.dvc("repro", "data-coco")
    assert project.executed == []
    assert json.loads((project.folder / "reports/small/data/coco.json").read_text())["run"].startswith(
        "data/coco-"
    )


def test_two_drivers_never_interleave(project: Project) -> None:
    """While DVC makes a table, a second DVC and a Snakemake are refused, and nothing is executed twice."""
    project.write_table("first", "objectives.mim: null")
    project.variables["MAMO_TEST_HOLDS"] = "mamo-no_mim*"
    (project.folder / "executed").unlink(missing_ok=True)
    first = project.start(sys.executable, "-m", "dvc", "repro", "first")
    project.held("pretrain/mamo-no_mim")
    before = (project.folder / "dvc.lock").read_bytes()
    for words in (["dvc", "repro", "first"], ["dvc", "repro", "second"], ["snakemake", "--", "first"]):
        other = project.call(sys.executable, "-m", *words)
        assert other.returncode not in (0, None), other.stdout
        assert any(said in other.stdout for said in REFUSED), other.stdout
    assert (project.folder / "dvc.lock").read_bytes() == before
    project.release()
    output, _ = first.communicate(timeout=240)
    assert first.returncode == 0, output
    assert project.executed == [name.format("no_mim") for name in FIRST_CHAIN]
    assert project.shown("first") == project.planned("first")
    assert "Data and pipelines are up to date" in project.dvc("repro", "first")


@pytest.mark.parametrize("link", ["copy", "hardlink", "symlink"])
def test_round_trip(made: Project, tmp_path: Path, link: str) -> None:
    project = made.copy(tmp_path / "project")
    project.dvc("config", "cache.type", link)
    project.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    project.dvc("checkout", "--relink")
    project.commit("A remote")
    project.dvc("push")
    clone = project.clone(tmp_path / "clone")
    clone.dvc("pull")
    weights = next((clone.folder / "results/small/pretrain").glob("*/model.safetensors"))
    assert weights.is_symlink() == (link == "symlink")
    assert (weights.stat().st_nlink > 1) == (link == "hardlink")
    for age, path in enumerate(sorted((clone.folder / "results").rglob("record.json"))):
        if link == "copy":  # with links this is the cache's file, and DVC's own to look after
            os.utime(path, (1e9 + 1e5 * (age * 7919 % 13), 1e9 + 1e5 * (age * 7919 % 13)))
    assert "up to date" in clone.dvc("status", "first", *artifacts(clone))
    assert "up to date" in clone.dvc("repro", "first")
    text = clone.run(sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", "--", "first")
    assert re.search(r"^page +1$", text, re.MULTILINE), "values are computed again from the records"
    assert not re.search(r"^(prepare|weights|pretrain|finetune) +\d", text, re.MULTILINE)
    # A spec is changed by an edit, made by Snakemake alone, recorded, and taken back by git.
    before = clone.shown("first")
    clone.write_table("first", "objectives.mim: null")
    assert "first" in clone.dvc("status", "first")
    clone.run(sys.executable, "-m", "snakemake", "--", "first")
    assert clone.executed == [name.format("no_mim") for name in FIRST_CHAIN]
    clone.run("mamo", "dvc", "record", "first")
    assert "up to date" in clone.dvc("repro", "first") and clone.executed == []
    assert clone.shown("first") == clone.planned("first") != before
    clone.commit("Another row")
    clone.git("checkout", "--quiet", "HEAD~1")
    clone.dvc("checkout")
    assert "up to date" in clone.dvc("repro", "first") and clone.executed == []
    assert clone.shown("first") == clone.planned("first") == before
    clone.run(sys.executable, "-m", "snakemake", "--", "first")
    assert clone.executed == [] and clone.shown("first") == before
    # What the workflow recorded at its end on the older commit is a change there, which a user commits or drops.
    clone.git("checkout", "--quiet", "--force", "main")
    clone.dvc("checkout")
    assert "up to date" in clone.dvc("repro", "first") and clone.executed == []
    assert clone.shown("first") == clone.planned("first") != before
    assert "up to date" in clone.dvc("status", *artifacts(clone))


def artifacts(project: Project) -> list[str]:
    return [str(path.relative_to(project.folder)) for path in (project.folder / "artifacts").rglob("*.dvc")]


def test_an_experiment_changes_a_spec_and_trains_its_own_runs_alone(project: Project) -> None:
    change = "ablations/scales/small.yaml:+pretrain.masking.text_ratio=0.5"
    before = project.shown("first")
    project.dvc("exp", "run", "--temp", "--name", "apart", "-S", change, "first")
    apart = project.dvc("exp", "show", "--csv")
    assert "apart" in apart and project.shown("first") == before, "the workspace is as it was"
    made = sorted(path.name for path in (project.folder / "results/small/pretrain").iterdir())
    assert len(made) == 4, "its two pre-trainings lie beside the others"
    project.dvc("exp", "run", "--name", "here", "-S", change, "first")
    assert project.executed == [], "the same spec is not trained again"
    assert project.shown("first") == project.planned("first") != before
    assert "text_ratio" in project.dvc("params", "diff")
    assert "reports/small/metrics/first.json" in project.dvc("metrics", "diff")
    assert "full.tr" in project.dvc("metrics", "show", "--json") or "full" in project.dvc("metrics", "show")


def test_no_result_is_recorded_under_a_spec_that_did_not_make_it(project: Project, tmp_path: Path) -> None:
    # An ablation file is edited while its table is made.
    project.write_table("first", "objectives.mim: null")
    project.variables["MAMO_TEST_EDITS"] = "ablations/first.yaml|objectives.mim|objectives.mrm"
    lock = (project.folder / "dvc.lock").read_text()
    assert "changed while first was made" in project.dvc("repro", "first", status=255)
    assert (project.folder / "dvc.lock").read_text() == lock
    del project.variables["MAMO_TEST_EDITS"]
    project.dvc("repro", "first")
    assert project.shown("first") == project.planned("first")
    # A run is interrupted: what it left is no result.
    project.write_table("first", "objectives.mlm: false")
    project.variables["MAMO_TEST_FAILS"] = "mamo-no_mlm*"
    known = artifacts(project)
    project.dvc("repro", "first", status=255)
    assert artifacts(project) == known
    del project.variables["MAMO_TEST_FAILS"]
    # One run's directory stands under another's name.
    runs = project.folder / "results/small/pretrain"
    interrupted = next(path for path in runs.iterdir() if "no_mlm" in path.name)
    shutil.rmtree(interrupted)
    shutil.copytree(next(path for path in runs.iterdir() if "no_mrm" in path.name), interrupted)
    refused = project.dvc("repro", "first", status=255)
    logs = "".join(path.read_text() for path in (project.folder / "logs").rglob("*.log"))
    assert "is the record of another run" in refused + logs and artifacts(project) == known
    shutil.rmtree(interrupted)
    for path in (project.folder / "results/small/finetune").glob("*no_mlm*"):
        shutil.rmtree(path)
    project.dvc("repro", "first")
    assert project.executed == [name.format("no_mlm") for name in FIRST_CHAIN]
    # A published number is changed by hand, and Snakemake's own records and all times are lost.
    page = project.folder / "reports/small/first.md"
    true = page.read_text()
    page.write_text(true.replace(f"{project.planned('first')['full']['tr']:.1f} |", "99.9 |"))
    shutil.rmtree(project.folder / ".snakemake")
    project.dvc("repro", "first")
    assert page.read_text() == true and project.executed == []
    # A recorded run's weights are changed by hand.
    weights = next(interrupted.glob("model.safetensors"))
    weights.write_text("others")
    project.write_table("second", "objectives.mlm: false")
    assert "is not what was recorded under its identity" in project.dvc("repro", "second", status=255)
    project.dvc("checkout", "--force", *artifacts(project))
    assert weights.read_text() != "others"
    project.dvc("repro", "second")


def check_records(project: Project, shown_by: dict[str, dict]) -> None:
    """Check that what DVC holds is of the spec under whose name it is held, by its own files and not by what it says.

    Args:
        shown_by: MD5 of the table's file and of the folder of scales -> the values that such files stand for.
    """
    cache = project.folder / ".dvc/cache/files/md5"

    def cached(md5: str) -> str:
        return (cache / md5[:2] / md5[2:]).read_text()

    for path in (project.folder / "artifacts").rglob("*.dvc"):
        (out,) = yaml.safe_load(path.read_text())["outs"]
        files = {file["relpath"]: file["md5"] for file in json.loads(cached(out["md5"]))}
        record, identity = json.loads(cached(files["record.json"])), path.stem.rsplit("-", 1)[1]
        assert record["revision"] == REVISIONS[record["kind"]]
        assert Run(record["kind"], "", record["spec"], record["inputs"]).digest == identity
        assert cached(files["model.safetensors"]) == identity * 100, "the weights as well"
    stage = yaml.safe_load((project.folder / "dvc.lock").read_text())["stages"]["first"]
    made_from = {dep["path"]: dep["md5"] for dep in stage["deps"]}
    values = shown_by[made_from["ablations/first.yaml"] + made_from["ablations/scales"]]
    shown = {out["path"]: out["md5"] for out in stage["outs"]}
    file = project.folder / "expected.json"
    write_tracked_json(values, file)
    assert shown["reports/small/metrics/first.json"] == _md5(file), "the table of that spec"
    file.unlink()


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _scales(project: Project) -> str:
    """The folder of scales as DVC knows it."""
    files = sorted((project.folder / "ablations/scales").iterdir())
    listed = [{"md5": _md5(path), "relpath": path.name} for path in files]
    return f"{hashlib.md5(json.dumps(listed).encode(), usedforsecurity=False).hexdigest()}.dir"


def _shuffle_times(project: Project, rng: random.Random) -> None:
    for name in ("results", "reports", "ablations", "dvc.lock", "dvc.yaml", "mamo"):
        root = project.folder / name
        for path in [root, *root.rglob("*")]:
            when = rng.uniform(1e9, 1.7e9)
            os.utime(path, (when, when), follow_symlinks=False)


def _lose_metadata(project: Project) -> None:
    for name in (".snakemake", ".dvc/tmp", ".dvc/cache/runs", "logs", "results/small/tables"):
        shutil.rmtree(project.folder / name, ignore_errors=True)


def _kill_in_the_middle(project: Project, *words: str) -> None:
    """Begin a command that hangs in a fine-tuning, and kill it and all that it started without a warning."""
    (project.folder / "executed").unlink(missing_ok=True)
    environment = project.environment | {"MAMO_TEST_HANGS": "retrieval_flickr30k-*"}
    begun = subprocess.Popen(
        [sys.executable, "-m", *words], cwd=project.folder, env=environment, start_new_session=True
    )
    while "finetune" not in " ".join(project.executed):
        assert begun.poll() is None
        time.sleep(0.2)
    started = psutil.Process(begun.pid).children(recursive=True)
    begun.kill()
    for process in started:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    begun.wait()
    psutil.wait_procs(started)


def test_a_walk_through_changes_faults_and_drivers_records_nothing_wrong(
    project: Project, tmp_path: Path
) -> None:
    rng = random.Random(7)
    shown_by: dict[str, dict] = {}

    def change(text: str | None) -> None:
        if text is not None:
            project.write_table("first", text)
        name = _md5(project.folder / "ablations/first.yaml") + _scales(project)
        shown_by[name] = project.planned("first")

    def right() -> None:
        check_records(project, shown_by)
        assert project.shown("first") == project.planned("first")

    project.dvc("config", "cache.type", "symlink")
    project.dvc("checkout", "--relink")
    change(None)
    right()
    # An edit, while all times are shuffled.
    change("objectives.mim: null")
    _shuffle_times(project, rng)
    project.dvc("repro", "first")
    right()
    project.commit("mim")
    # Killed in the middle of another spec's fine-tuning, which is then given up for a third one; nothing is remembered.
    change("objectives.mlm: false")
    _kill_in_the_middle(project, "dvc", "repro", "first")
    check_records(project, shown_by)
    change("masking.image_ratio: 0.5")
    _lose_metadata(project)
    _shuffle_times(project, rng)
    project.dvc("repro", "first")
    right()
    # Snakemake alone goes on with what was killed, and is killed as well; the third time it gets through.
    change("objectives.mlm: false")
    _kill_in_the_middle(project, "snakemake", "--cores", "2", "--", "first")
    project.run("mamo", "dvc", "record")
    check_records(project, shown_by)
    project.run(sys.executable, "-m", "snakemake", "--unlock")
    project.run(sys.executable, "-m", "snakemake", "--", "first")
    right()
    assert "up to date" in project.dvc("repro", "first"), "recorded at the workflow's end"
    # The pages of that spec are put over an older state of the ablation, newer than everything else, with hard links.
    project.dvc("config", "cache.type", "hardlink")
    project.dvc("checkout", "--relink")
    page = {
        path: path.read_bytes() for path in (project.folder / "reports/small").rglob("*") if path.is_file()
    }
    project.git("checkout", "--quiet", "--force", "HEAD")
    for path, content in page.items():
        path.write_bytes(content)
    assert project.shown("first") != project.planned("first")
    project.run(sys.executable, "-m", "dvc", "repro", "first")
    assert project.executed == []
    right()
    # Runs are taken away and put back by DVC with times of its own, under a spec that an experiment changes.
    shutil.rmtree(project.folder / "results")
    project.dvc("checkout", "--force", *artifacts(project))
    project.dvc("exp", "run", "-S", "ablations/scales/small.yaml:+pretrain.masking.text_ratio=0.5", "first")
    change(None)
    right()


def test_the_weights_of_one_run_are_had_from_another_repository(project: Project, tmp_path: Path) -> None:
    path = next((project.folder / "results/small/pretrain").glob("mamo-epochs_10-*"))
    inside = str(path.relative_to(project.folder) / "model.safetensors")
    project.dvc("remote", "add", "--default", "store", str(tmp_path / "store"))
    project.commit("A remote")
    project.dvc("push", f"artifacts/small/pretrain/{path.name}.dvc")
    there = project.clone(tmp_path / "there").folder  # without a cache: what is had comes from the remote
    project.dvc("get", str(there), inside, "--out", str(tmp_path / "weights"))
    assert (tmp_path / "weights").read_text() == (path / "model.safetensors").read_text()
    other = project.copy(tmp_path / "other")
    other.dvc("import", str(there), inside, "--out", "weights")
    assert (other.folder / "weights.dvc").is_file()
    assert (other.folder / "weights").read_text() == (path / "model.safetensors").read_text()


def test_what_is_missing_is_said_with_its_mend(made: Project, tmp_path: Path) -> None:
    bare = made.copy(tmp_path / "bare")
    shutil.rmtree(bare.folder / ".git")
    assert "call `git init`, or `dvc config core.no_scm true`" in bare.run("mamo", "dvc", "record", status=1)
    shutil.rmtree(bare.folder / ".dvc")
    assert "call `dvc init` here" in bare.run("mamo", "dvc", "record", status=1)
    locked = made.copy(tmp_path / "locked")
    shutil.rmtree(locked.folder / "artifacts")
    from filelock import FileLock

    (locked.folder / ".dvc/tmp").mkdir(exist_ok=True)
    with FileLock(locked.folder / ".dvc/tmp/lock"):
        text = locked.run("mamo", "dvc", "record", status=1)
    assert "Another dvc command is at work here" in text
    assert not list((locked.folder / "artifacts").rglob("*.dvc")), "nothing half-written is left"
    assert "no remote" in made.dvc("push", status=1)
