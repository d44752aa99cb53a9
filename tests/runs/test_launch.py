"""A run is made once, by one group of processes, which stops together and goes on from where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from mamo.runs.execute import execute
from mamo.runs.launch import torchrun
from mamo.specs.overrides import merge
from mamo.specs.plan import make_plan

ROOT = Path(__file__).resolve().parents[2]


def test_who_waits_finds_the_run_done_and_makes_nothing(tmp_path: Path) -> None:
    plan = make_plan("smoke")
    run = plan.find("data", "world")
    directory = run.directory(tmp_path)
    directory.mkdir(parents=True)
    held = threading.Event()
    elsewhere = {
        "run": run.id,
        "outcome": {"status": "converged", "reason": ""},
        "details": {"made": "elsewhere"},
    }

    def other_process() -> None:
        with FileLock(directory / ".lock"):
            held.set()
            time.sleep(0.5)
            run.record(tmp_path).write_text(json.dumps(elsewhere))

    threading.Thread(target=other_process).start()
    assert held.wait(timeout=5)
    assert execute(plan, run, tmp_path, wait=True).as_json() == elsewhere
    assert not (directory / "release").exists()


def test_a_record_that_a_workflow_removed_is_put_back(tmp_path: Path) -> None:
    plan = make_plan("smoke")
    run = plan.find("data", "world")
    execute(plan, run, tmp_path)
    text = run.record(tmp_path).read_text()
    made = (run.directory(tmp_path) / "release").stat().st_ctime_ns
    run.record(tmp_path).unlink()
    execute(plan, run, tmp_path)
    assert run.record(tmp_path).read_text() == text
    assert (run.directory(tmp_path) / "release").stat().st_ctime_ns == made


def test_a_copy_of_another_runs_record_is_not_taken(tmp_path: Path) -> None:
    plan = make_plan("smoke")
    run = plan.find("data", "world")
    run.directory(tmp_path).mkdir(parents=True)
    (run.directory(tmp_path) / ".record.json").write_text(
        json.dumps({"run": "world-0123456789", "outcome": {"status": "converged"}})
    )
    assert execute(plan, run, tmp_path).run == run.id


# Stands for srun, which passes SIGUSR1 on to its ranks, so that they save their state, and kills them when it gets SIGTERM.
SRUN = """#!/bin/sh
trap 'echo asked >> told' USR1
trap 'echo killed >> told; exit 137' TERM
touch started
while [ ! -e told ]; do sleep 0.05; done
sleep 1
exit 75
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_ranks_of_several_nodes_are_asked_to_stop_in_a_way_that_srun_passes_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    (tmp_path / "srun").write_text(SRUN)
    (tmp_path / "srun").chmod(0o755)
    code = (
        "import sys; from pathlib import Path; from mamo.runs.launch import launch; "
        "sys.exit(launch(['pretrain', 'x'], Path('run'), 1, 2, None, False))"
    )
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as launcher:
        end = time.monotonic() + 60
        while not (tmp_path / "started").exists():
            assert time.monotonic() < end and launcher.poll() is None
            time.sleep(0.05)
        for _ in range(
            3
        ):  # at its time limit a job is told more than once; torchrun gives up its ranks at the third time
            launcher.send_signal(number)
            time.sleep(0.2)
        assert launcher.wait(timeout=30) == 75
    assert (tmp_path / "told").read_text() == "asked\n"
    words = " ".join(torchrun(1, 2, None))
    assert words.startswith("srun ") and "SIGUSR1" in words, "and torchrun passes it on"


@pytest.mark.slow
def test_two_ranks_stop_together_and_go_on_from_their_step(tmp_path: Path) -> None:
    ablations = tmp_path / "ablations"
    shutil.copytree(ROOT / "ablations", ablations)
    long = {
        "schedule": {"steps_per_epoch": 40},
        "batch_size": 16,
    }  # 400 steps in 10 epochs: seconds are left after the first
    scale = ablations / "scales" / "smoke.yaml"
    scale.write_text(yaml.safe_dump(merge(yaml.safe_load(scale.read_text()), {"pretrain": long})))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    plan = make_plan("smoke", ablations)
    run = plan.find("pretrain", "mamo-no_mim-no_mlm-no_mrm-epochs_10")
    results = tmp_path / "results" / "smoke"
    needed = plan.closure(run.inputs.values())
    for key, other in plan.runs.items():
        if key in needed:
            execute(plan, other, results)
    command = [sys.executable, "-m", "mamo.cli", "pretrain", "--scale", "smoke", "--processes", "2", run.id]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    def start() -> subprocess.Popen[str]:
        return subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)

    first = start()
    assert first.stderr is not None
    seen = []
    for line in first.stderr:
        seen.append(line)
        if line.startswith("step "):
            break
    first.send_signal(signal.SIGTERM)
    rest = first.stderr.read()
    assert first.wait(timeout=60) == 75, "".join(seen) + rest
    (stopped,) = (run.directory(results) / "checkpoints").glob("step-*.pt")
    step = int(stopped.name.split("-")[1])
    assert 0 < step < 400
    second = start()
    _, errors = second.communicate(timeout=240)
    assert second.returncode == 0, errors
    assert errors.count(f"resuming at step {step}/400") == 2
    assert json.loads(run.record(results).read_text())["details"]["steps"] == 400
