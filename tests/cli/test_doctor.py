"""`mamo doctor`: what is wrong is named with its fix, and ends in status 1."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from mamo.cli.doctor_passing import check_batch_passing
from mamo.cli.doctor_slurm import request
from mamo.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(ROOT / "ablations", tmp_path / "ablations")
    for name in ("Snakefile", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_a_scale_lacks_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(project / "hub"))
    assert main(["doctor", "--scale", "paper"]) == 1
    text = capsys.readouterr().out
    assert "wrong no releases are named for coco" in text and "set `releases:` in params.yaml" in text
    assert "wrong weights text (bert-base-uncased) are not here yet" in text
    assert "HF_HUB_OFFLINE=1 forbids it here" in text
    assert "DVC cannot be used" in text and "call `dvc init` here" in text


def test_a_scale_that_needs_nothing_is_well(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--scale", "smoke"]) == 0
    text = capsys.readouterr().out
    assert "all packages are there" in text and "locks work in results" in text
    assert "Nothing is wrong" in text


@pytest.mark.parametrize("instructions", ["avx2", "avx512_bf16"])
def test_a_precision_that_is_emulated_is_named(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, instructions: str
) -> None:
    monkeypatch.setattr("mamo.training.precision.processor_flags", lambda: frozenset({instructions}))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    main(["doctor", "--scale", "paper"])
    said = "runs compute in bf16, which this processor emulates" in capsys.readouterr().out
    assert said == (instructions == "avx2")
    main(["doctor", "--scale", "smoke"])
    assert "precision fp32: computed in hardware here" in capsys.readouterr().out


def test_a_package_of_another_version_is_found(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "importlib.metadata.requires", lambda _: ["pyyaml<1", "no-such-package", "ruff; extra == 'dev'"]
    )
    assert main(["doctor", "--node"]) == 1
    text = capsys.readouterr().out
    assert "is not <1" in text and "no-such-package is not installed" in text and "ruff" not in text


def test_what_passes_batches_on_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def told() -> list[tuple[str, str]]:
        return [
            (finding.state, finding.what + finding.fix)
            for finding in check_batch_passing(argparse.Namespace())
        ]

    small = type("Usage", (), {"free": 60_000_000, "total": 64_000_000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: small())
    monkeypatch.setattr("tempfile.tempdir", "/long" * 20)
    monkeypatch.setattr("resource.getrlimit", lambda which: (256, 512))
    monkeypatch.delenv("TMPDIR", raising=False)
    memory, files, limit = told()
    assert memory[0] == "note" and "0.06 of 0.064 GB" in memory[1] and "--shm-size" in memory[1]
    assert files[0] == "note" and "more than 75 characters" in files[1] and "they go to /tmp" in files[1]
    assert limit[0] == "wrong" and "may open 512 files" in limit[1]
    monkeypatch.setattr("tempfile.tempdir", "/tmp")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    assert "cannot be written, so that /tmp" in told()[1][1]
    monkeypatch.undo()
    monkeypatch.setattr("mamo.data.batches.passing.SHARED_MEMORY", tmp_path / "none")
    assert told()[0][0] == "wrong"


def test_a_request_is_the_plugins() -> None:
    asked = {
        "nodes": 2,
        "gres": "gpu:8",
        "tasks": 2,
        "mpi": "srun",
        "slurm_partition": "a",
        "mem_mb": 5,
        "gpu": 0,
    }
    assert request(asked) == ["--partition=a", "--mem=5", "--nodes=2", "--ntasks=2", "--gres=gpu:8"]
