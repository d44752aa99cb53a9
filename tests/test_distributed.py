"""Two gloo processes give the losses and gradients of one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gloo_worker
import tiny
import torch

HERE = Path(__file__).parent


def test_two_processes_equal_one(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path / "words")
    alone = gloo_worker.losses_and_gradients(words)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(HERE / "gloo_worker.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=180,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    together = torch.load(tmp_path / "result.pt", weights_only=True)
    assert set(together) == set(alone)
    for name, value in alone.items():
        torch.testing.assert_close(
            together[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )
