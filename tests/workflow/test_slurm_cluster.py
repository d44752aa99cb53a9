"""The SLURM that tests start ends with them, however they end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import belonging, cluster, missing

from mamo.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing()), reason=missing())]


def test_a_killed_test_leaves_no_cluster_behind(tmp_path: Path) -> None:
    code = f"""
import time
from pathlib import Path
from slurm_cluster import cluster
with cluster(Path({str(tmp_path / "c")!r})) as slurm:
    slurm.call("sbatch", "--wrap", "sleep 600", "--output=/dev/null")
    print(len(slurm.jobs()), flush=True)
    time.sleep(600)
"""
    words = [sys.executable, "-c", code]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests" / "support")}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as test:
        assert test.stdout is not None and test.stdout.readline() == b"1\n"
        configuration = str(tmp_path / "c" / "slurm.conf")
        assert len(belonging(configuration)) >= 4
        test.kill()
    deadline = time.monotonic() + 60
    while belonging(configuration) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert belonging(configuration) == []


def test_the_doctor_asks_the_cluster_about_each_kind_of_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = ("prepare_part", "prepare", "weights", "pretrain", "finetune", "maps")
    monkeypatch.chdir(ROOT)
    with cluster(tmp_path / "c", cpus=64) as slurm:
        for name, value in slurm.environment.items():
            monkeypatch.setenv(name, value)
        main(["doctor", "--slurm", "--scale", "paper"])
        text = capsys.readouterr().out
        assert "is UP" in text and "a job has 30 s between" in text
        assert all(f"ok    {kind}: " in text for kind in kinds), text
        monkeypatch.setenv("MAMO_GPU_PARTITION", "none")
        monkeypatch.setenv("MAMO_PREPARE_MEM_MB", "999999999")
        assert main(["doctor", "--slurm", "--scale", "smoke"]) == 1
        text = capsys.readouterr().out
        refused = [kind for kind in kinds if f"wrong {kind}: " in text]
        assert refused == ["prepare", "weights", "pretrain", "finetune", "maps"], text
        assert "There are gpu (2 nodes, gpu:8" in text
