"""Test what is asked of SLURM: the emitted sbatch lines, without a SLURM."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from workflow_bench import Bench

pytest.importorskip("snakemake_executor_plugin_slurm")

# Notes how it was called, and refuses.
SBATCH = '#!/bin/sh\necho "$*" >> sbatch\nexit 1\n'
SITE = ("ACCOUNT", "GPU_PARTITION", "CPU_PARTITION", "PRETRAIN_GPUS", "PRETRAIN_NODES", "PRETRAIN_RUNTIME")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """A project with everything made but what tests take away."""
    bench = Bench.create(tmp_path_factory.mktemp("made"))
    done = bench.snakemake()
    assert done.returncode == 0, done.stdout
    others = dict.fromkeys(("squeue", "scontrol", "sacct", "sinfo"), "#!/bin/sh\nexit 1\n")
    for name, text in {"sbatch": SBATCH, "sacctmgr": "#!/bin/sh\necho vision\n", **others}.items():
        (bench.folder / "bin" / name).write_text(text)
        (bench.folder / "bin" / name).chmod(0o755)
    return bench


@pytest.fixture
def project(made: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    shutil.copytree(made.folder, tmp_path / "project", symlinks=True)
    for name in SITE:
        monkeypatch.delenv(f"MAMO_{name}", raising=False)
    return Bench(tmp_path / "project")


def submitted(project: Bench, lacking: str, *profiles: str) -> list[str]:
    """The sbatch lines, without what differs from call to call, for a project that lacks the named runs."""
    for path in (project.folder / "results" / "small").glob(lacking):
        shutil.rmtree(path)
    shutil.rmtree(project.folder / "results" / "small" / "tables")
    shutil.rmtree(project.folder / "reports")
    words = [word for name in profiles or ("slurm",) for word in ("--profile", name)]
    words += ["--retries", "0", "--slurm-init-seconds-before-status-checks", "1"]
    done = project.call("snakemake", *words)
    noted = project.folder / "sbatch"
    assert noted.is_file(), done.stdout
    lines = noted.read_text().splitlines()
    differing = r"--job-name \S+ |--output \S+ | -D \S+| --wrap.*|-[0-9a-f]{10}\b"
    return sorted(re.sub(differing, "", line) for line in lines)


PRETRAIN = "--parsable --export=ALL --comment rule_pretrain_wildcards_mamo-no_mrm-epochs_10"


SMALL = "-t 600 --mem 16000 --nodes=1 --requeue --cpus-per-task=4"


def test_sizes_follow_the_scale(project: Bench) -> None:
    assert submitted(project, "*/*no_mrm*") == [f"{PRETRAIN} -p gpu {SMALL} --gpus=1"]


def test_a_site_names_account_partition_and_type_of_gpu(project: Bench) -> None:
    project.variables = {
        "MAMO_PRETRAIN_GPUS": "3g.20gb:1",
        "MAMO_ACCOUNT": "vision",
        "MAMO_GPU_PARTITION": "a100",
    }
    assert submitted(project, "*/*no_mrm*") == [f"{PRETRAIN} -A vision -p a100 {SMALL} --gpus=3g.20gb:1"]


def test_what_cannot_run_is_refused_before_anything_is_submitted(project: Bench) -> None:
    """Two nodes would have 4 pairs of a batch of 8 each, and groups of 8 do not fit into them."""
    project.variables = {"MAMO_PRETRAIN_NODES": "2"}
    for path in (project.folder / "results" / "small").glob("*/*no_mrm*"):
        shutil.rmtree(path)
    done = project.call("snakemake", "--profile", "slurm", "--", "first")
    assert done.returncode == 1 and not (project.folder / "sbatch").exists()
    assert "each of 2 processes has 4 pairs, no multiple of objectives.itm_group 8" in done.stdout
    assert "MAMO_PRETRAIN_NODES" in done.stdout and "Traceback (most" not in done.stdout


def test_two_nodes(project: Bench) -> None:
    scale = project.folder / "ablations" / "scales" / "small.yaml"
    scale.write_text(scale.read_text() + "pretrain: {objectives: {itm_group: 4}}\n")
    project.variables = {"MAMO_PRETRAIN_NODES": "2", "MAMO_PRETRAIN_RUNTIME": "60"}
    lines = submitted(project, "*/*no_mrm*")
    asked = "-p gpu -t 60 --mem 16000 --nodes=2 --requeue --ntasks=2 --cpus-per-task=4 --gres=gpu:1"
    assert len(lines) == 3 and all(line.endswith(asked) for line in lines), lines


def test_data_go_to_the_cpu_partition(project: Bench) -> None:
    project.variables = {"MAMO_CPU_PARTITION": "cpus"}
    (line,) = submitted(project, "[!t]*/*")
    assert line == (
        "--parsable --export=ALL --comment rule_prepare_wildcards_world -p cpus -t 120 --mem 8000 --nodes=1 --requeue "
        "--ntasks=1 --cpus-per-task=4"
    )


def test_fine_tunings_of_one_pre_training_are_one_job(project: Bench) -> None:
    columns = "\n  - {key: c, label: C, job: retrieval_coco, metric: tr_r1}\n  - {key: v, label: V, job: vqa, metric: accuracy}"
    for name in ("first", "second"):
        path = project.folder / "ablations" / f"{name}.yaml"
        path.write_text(path.read_text().replace("metric: tr_r1}", "metric: tr_r1}" + columns))
    lines = submitted(project, "finetune/*")
    assert len(lines) == 3, "three pre-trainings have three fine-tunings each"
    for line in lines:
        assert "-t 720 " in line and "--gpus=1" in line and "--mem 16000" in line, (
            "three times 240 minutes on one GPU"
        )


def test_a_users_own_profile_goes_before(project: Bench) -> None:
    own = project.folder / "own"
    own.mkdir()
    (own / "config.yaml").write_text(
        "set-resources:\n  pretrain: {slurm_partition: mine, gpu_model: a100, runtime: 5}\n"
    )
    (line,) = submitted(project, "*/*no_mrm*", "slurm", "own")
    assert "-p mine -t 5 --mem 16000 " in line and line.endswith("--gpus=a100:1") and "--requeue" in line


def test_a_packed_job_goes_on_past_a_fine_tuning_that_fails(project: Bench) -> None:
    """As a job's own Snakemake is called, whichever of them it begins with."""
    made = project.folder / "results" / "small" / "finetune"
    runs = sorted(path.name for path in made.iterdir())[:2]
    for failing in runs:
        shutil.rmtree(made)
        project.variables = {"MAMO_TEST_FAILS": failing}
        words = [
            "--mode",
            "remote",
            "--executor",
            "local",
            "--local-groupid",
            "packed",
            "--resources",
            "packed=1",
        ]
        words += ["--allowed-rules", "finetune", "--nolock", "--force", "--target-jobs"]
        done = project.snakemake(*words, *(f"finetune:run={run}" for run in runs))
        assert done.returncode == 1
        assert project.executed == sorted(f"finetune/{run.rsplit('-', 1)[0]}" for run in runs), done.stdout
