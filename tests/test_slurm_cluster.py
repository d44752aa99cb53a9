"""The SLURM that tests start ends with them, however they end."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import belonging, missing

ROOT = Path(__file__).resolve().parents[1]
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
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as test:
        assert test.stdout is not None and test.stdout.readline() == b"1\n"
        configuration = str(tmp_path / "c" / "slurm.conf")
        assert len(belonging(configuration)) >= 4
        test.kill()
    deadline = time.monotonic() + 60
    while belonging(configuration) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert belonging(configuration) == []
