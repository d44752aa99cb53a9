"""The DAG: what is executed, once, and when again."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
from workflow_bench import ROOT, Bench

pytest.importorskip("snakemake")

CHANGED = ["finetune/retrieval_flickr30k-mamo-no_mrm-epochs_10", "pretrain/mamo-no_mrm-epochs_10"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A project whose two tables have been made; tests work on copies."""
    bench = Bench.create(tmp_path_factory.mktemp("made"))
    done = bench.snakemake()
    assert done.returncode == 0, done.stdout
    return bench


@pytest.fixture
def project(made: Bench, tmp_path: Path) -> Bench:
    shutil.copytree(made.folder, tmp_path / "project", symlinks=True)
    return Bench(tmp_path / "project")


def test_a_spec_shared_by_two_tables_trains_once(made: Bench) -> None:
    chains = ["mamo-epochs_10", "mamo-image_ratio_0.5-epochs_10", "mamo-no_mrm-epochs_10"]
    finetunings = [f"finetune/retrieval_flickr30k-{chain}" for chain in chains]
    learned = [name for name in made.executed if name.startswith(("pretrain/", "finetune/"))]
    assert learned == sorted(finetunings + [f"pretrain/{chain}" for chain in chains])
    assert len(set(made.executed)) == len(made.executed), "no data set and no starting weights are made twice"


def test_nothing_is_done_twice_whatever_the_modification_times(project: Bench) -> None:
    shutil.rmtree(project.folder / ".snakemake")
    for age, path in enumerate(sorted((project.folder / "results").rglob("record.json"))):
        os.utime(path, (1e9 + 1e5 * (age * 7919 % 13), 1e9 + 1e5 * (age * 7919 % 13)))
    done = project.snakemake()
    assert "Nothing to be done" in done.stdout
    assert project.executed == []


def test_a_changed_row_runs_its_own_chain_and_going_back_runs_nothing(project: Bench) -> None:
    page = project.folder / "reports" / "small" / "first.md"
    before = page.read_text()
    project.write_table("first", "objectives.mim: null")
    assert project.snakemake().returncode == 0
    assert project.executed == [name.replace("no_mrm", "no_mim") for name in CHANGED]
    assert "no_mim" in page.read_text()
    project.write_table("first", "objectives.mrm: null")
    done = project.snakemake()
    assert done.returncode == 0, done.stdout
    assert project.executed == []
    assert page.read_text() == before, "the published page is of the earlier spec again"
    assert "first" in (project.folder / "reports" / "small" / "README.md").read_text()


def test_a_clone_with_published_pages_but_no_results_plans_all_runs(project: Bench) -> None:
    shutil.rmtree(project.folder / "results")
    shutil.rmtree(project.folder / ".snakemake")
    done = project.snakemake("-n", "--quiet", "rules", "--", "first")
    assert " pretrain 2 " in " ".join(done.stdout.split())


def test_pages_that_are_asked_for_together_are_planned_together(project: Bench) -> None:
    """Each table's values have a file of their own that says that runs are missing."""
    shutil.rmtree(project.folder / "results")
    shutil.rmtree(project.folder / ".snakemake")
    for tables in (("first", "second"), ("second", "first")):
        done = project.snakemake("-n", "--quiet", "rules", "--", *tables)
        assert done.returncode == 0, done.stdout
        assert " pretrain 3 " in " ".join(done.stdout.split())


def forget(project: Bench, chain: str) -> None:
    """Remove what was executed for one pre-training, and the tables."""
    for path in (project.folder / "results" / "small").glob(f"*/*{chain}*"):
        shutil.rmtree(path)
    shutil.rmtree(project.folder / "results" / "small" / "tables")
    shutil.rmtree(project.folder / "reports")


def test_a_failing_job_shows_its_log_and_stops_only_its_own_chain(project: Bench) -> None:
    forget(project, "no_mrm")
    project.variables["MAMO_TEST_FAILS"] = "mamo-no_mrm*"
    done = project.snakemake()
    assert done.returncode == 1
    assert "no space left on the disk" in done.stdout and "logs/small/pretrain/mamo-no_mrm" in done.stdout
    assert (project.folder / "reports" / "small" / "second.md").is_file()
    assert not (project.folder / "reports" / "small" / "first.md").exists()
    del project.variables["MAMO_TEST_FAILS"]
    assert project.snakemake("--", "first").returncode == 0
    assert project.executed == CHANGED


def test_a_divergence_is_a_result(project: Bench) -> None:
    forget(project, "no_mrm")
    project.variables["MAMO_TEST_DIVERGES"] = "*no_mrm*"
    assert project.snakemake("--", "first").returncode == 0
    page = (project.folder / "reports" / "small" / "first.md").read_text()
    assert "| changed |    × |" in page and "(diverged)" in page


def test_a_file_alone_gives_a_target_and_with_a_scale_a_section(project: Bench) -> None:
    project.write_table("third", "objectives.mim: null")
    assert "Nothing to be done" in project.snakemake().stdout, "no part of the whole"
    done = project.snakemake("--", "third")
    assert done.returncode == 0, done.stdout
    assert project.executed == [name.replace("no_mrm", "no_mim") for name in CHANGED]
    reports = project.folder / "reports" / "small"
    assert "| changed" in (reports / "third.md").read_text()
    assert "third.md" not in (reports / "README.md").read_text()
    path = project.folder / "ablations" / "third.yaml"
    path.write_text(path.read_text() + "scales: [small]\n")
    assert project.snakemake().returncode == 0
    assert project.executed == []
    assert "## [third](third.md)" in (reports / "README.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "change", "message"),
    [
        (
            (),
            "objectives.mrn: null",
            "ablations/first.yaml: row 'other': unknown key 'objectives.mrn': did you mean 'mrm'?",
        ),
        (
            (),
            "masking.image_ratio: 1.5",
            "ablations/first.yaml: row 'other': masking.image_ratio: Input should be less than 1",
        ),
        (
            ("--config", "scale=smal"),
            "objectives.mrm: null",
            "no scale named 'smal': did you mean 'small'?",
        ),
        (("--config", "scle=small"), "objectives.mrm: null", "'scle' was unexpected"),
    ],
)
def test_a_wrong_setting_is_named_when_the_dag_is_built(
    tmp_path: Path, arguments: tuple[str, ...], change: str, message: str
) -> None:
    bench = Bench.create(tmp_path)
    bench.write_table("first", change)
    done = bench.snakemake("-n", *arguments)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout


def test_the_smoke_scale_plans_every_job() -> None:
    bench = Bench(ROOT)
    results, reports = "results=/nonexistent/results", "reports=/nonexistent/reports"
    words = (
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--quiet",
        "rules",
        "--config",
        "scale=smoke",
        results,
        reports,
    )
    done = bench.call(*words)
    assert done.returncode == 0, done.stdout
    text = " ".join((done.stdout).split())
    for rule, count in {
        "prepare": 10,
        "weights": 3,
        "pretrain": 24,
        "finetune": 73,
        "figure": 1,
        "page": 11,
        "values": 13,
        "maps": 11,
        "drawing": 8,
        "drawing_with_excerpt": 2,
        "index": 1,
    }.items():
        assert f" {rule} {count} " in text
    done = bench.call(*words, "--", "table5")
    text = " ".join((done.stdout).split())
    assert " pretrain 6 " in text and " finetune 18 " in text


def test_the_papers_scale_plans_every_job() -> None:
    """On no data at all: 9 data sets of which 7 are prepared in parts, and the runs behind Tables 1-10 and Fig. 6."""
    from mamo.data.datasets import part_count
    from mamo.specs.plan import make_plan

    bench = Bench(ROOT)
    config = ("--config", "scale=paper", "results=/nonexistent/results", "reports=/nonexistent/reports")
    words = (sys.executable, "-m", "snakemake", "-n", "--quiet", "rules", *config, "releases=/nonexistent")
    done = bench.call(*words, "--", "reproduce_all")
    assert done.returncode == 0, done.stdout
    text = " ".join((done.stdout).split())
    cut = [part_count(run.spec) for run in make_plan("paper").by_kind("data")]
    assert len(cut) == 9 and sum(count > 1 for count in cut) == 7
    jobs = {"prepare_part": sum(count for count in cut if count > 1), "prepare": 9, "weights": 3}
    jobs |= {"pretrain": 24, "finetune": 70, "values": 12, "page": 10, "figure": 1, "ledger": 1}
    for rule, count in jobs.items():
        assert f" {rule} {count} " in text, rule
    # Each table alone asks for what it needs: Table 1 for two 30-epoch models and no RefCOCO+.
    text = " ".join((bench.call(*words, "--", "table1").stdout).split())
    assert " pretrain 2 " in text and " finetune 4 " in text and " prepare 5 " in text
