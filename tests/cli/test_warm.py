"""The warm process: commands run as they would by themselves, with their own folder, files, status and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from mamo.cli import warm

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with warm.warm_process() as environment:
        yield environment[warm.VARIABLE]


def _start(address: str, *words: str, folder: Path) -> subprocess.Popen[str]:
    environment = os.environ | {warm.VARIABLE: address, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-m", "mamo.cli", *words],
        cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_output_status_and_folder_are_the_commands_own(address: str, tmp_path: Path) -> None:
    (tmp_path / "ablations").symlink_to(ROOT / "ablations")
    for name in ("params.yaml",):
        (tmp_path / name).write_text((ROOT / name).read_text())
    made = _start(address, "prepare", "--scale", "smoke", "world", folder=tmp_path)
    out, _ = made.communicate(timeout=120)
    assert made.returncode == 0 and "data/world-" in out
    assert len(list((tmp_path / "results/smoke/data").glob("world-*/record.json"))) == 1
    wrong = _start(address, "pretrain", "--scale", "smoke", "nonsense", folder=tmp_path)
    _, error = wrong.communicate(timeout=120)
    assert wrong.returncode == 2 and "'nonsense' is not a pretrain run" in error


def test_jobs_take_memory_as_the_workflow_has_it(address: str) -> None:
    servers = [child for child in psutil.Process().children() if "mamo.cli.warm_server" in child.cmdline()]
    assert servers and all(warm.MALLOC.items() <= server.environ().items() for server in servers)


def test_a_signal_reaches_the_job(address: str, tmp_path: Path) -> None:
    (tmp_path / "ablations").mkdir()
    for source in (ROOT / "ablations").rglob("*.yaml"):
        target = tmp_path / "ablations" / source.relative_to(ROOT / "ablations")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(source.read_text())
    scale = tmp_path / "ablations/scales/smoke.yaml"
    text = scale.read_text()
    assert "training: {steps: 2, " in text
    scale.write_text(text.replace("training: {steps: 2, ", "training: {steps: 100000, ", 1))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    job = _start(address, "weights", "--needs", "--scale", "smoke", "vision", folder=tmp_path)
    run = tmp_path / "results/smoke/weights"
    assert job.stderr is not None and job.stderr.readline().startswith("step"), (
        "the loop says now and then where it is"
    )
    job.send_signal(signal.SIGTERM)
    assert job.wait(timeout=60) == 75
    assert list(run.glob("vision-*/checkpoints/step-*.pt")) and not list(run.glob("vision-*/record.json"))


def test_without_a_warm_process_a_command_runs_by_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(warm.VARIABLE, raising=False)
    assert warm.hand_over(["prepare"]) is None
    monkeypatch.setenv(warm.VARIABLE, str(tmp_path / "nobody"))
    assert warm.hand_over(["prepare"]) is None
    assert warm.hand_over(["plan"]) is None
