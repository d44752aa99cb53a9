"""Test what a machine does to a run: every fault ends in a clear error or a recorded outcome, nothing partial passes for
whole, and
the run goes on to the same bits once the cause is gone."""

from __future__ import annotations

import errno
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from killable import Project, contents

from mamo.runs.faults import describe_fault

pytestmark = pytest.mark.slow


def whole_files(directory: Path) -> list[str]:
    """Return what of a run could be taken for a result."""
    names = ("record.json", ".record.json", "model.safetensors", "manifest.json", "items.arrow")
    return [name for name in names if (directory / name).exists()]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB of its own, in memory."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def moved(project: Project, key: str, disk: Path) -> Path:
    """All results but one run on the disk; the place of that run there."""
    kept = shutil.ignore_patterns(key.split("/")[1], ".lock")
    shutil.copytree(project.results, disk / "tiny", ignore=kept)
    return disk / "tiny" / key


def fill(disk: Path, spare: int) -> None:
    """Leave so many bytes free."""
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    (disk / "ballast").write_bytes(bytes(max(0, free - spare)))


@pytest.mark.parametrize(
    ("kind", "name", "spares"),
    [
        ("data", "coco", [8192]),
        ("pretrain", "mamo", [0, 8192, 400_000]),
        ("finetune", "retrieval_coco", [65536]),
    ],
)
def test_a_full_disk(killable: Project, disk: Path, kind: str, name: str, spares: list[int]) -> None:
    key = killable.find(kind, name)
    place = moved(killable, key, disk)
    for spare in spares:
        fill(disk, spare)
        ended = killable.make(key, "--results", str(disk))
        assert ended.status == 1 and "no space is left on the disk" in ended.output, ended.output
        assert "Traceback" not in ended.output and key in ended.output
        assert not whole_files(place)
        assert not [path for path in place.rglob(".*") if path.stat().st_size and path.suffix != ".json"]
        (disk / "ballast").unlink()
    assert killable.make(key, "--results", str(disk)).status == 0
    assert killable.bits(key, disk / "tiny") == killable.bits(key)


def test_a_full_disk_under_a_report(killable: Project, disk: Path) -> None:
    reports = ("--reports", str(disk))
    assert killable.killer.run("report", "tiny", *reports).status == 0
    pages = contents(disk / "tiny")
    fill(disk, 0)
    ended = killable.killer.run("report", "tiny", *reports)
    assert ended.status == 1 and "no space is left on the disk" in ended.output, ended.output
    assert contents(disk / "tiny") == pages, "as it was before"


@pytest.mark.parametrize("largest", [3000, 60_000])
def test_a_quota_without_root(killable: Project, largest: int) -> None:
    """A file that may not grow any more, which the system tells of as it does of a full disk."""
    key = killable.find("pretrain", "mamo")
    with killable.aside(key) as expected:
        ended = killable.make(key, largest=largest, dies=False)
        assert ended.status == 1 and f"mamo: {key}: no space is left" in ended.output, ended.output
        assert "Traceback" not in ended.output and not whole_files(killable.results / key)
        assert killable.make(key).status == 0 and killable.bits(key) == expected


@pytest.mark.parametrize(("kind", "name"), [("pretrain", "mamo"), ("data", "coco")])
def test_a_read_only_output(killable: Project, disk: Path, kind: str, name: str) -> None:
    key = killable.find(kind, name)
    moved(killable, key, disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    ended = killable.make(key, "--results", str(disk))
    assert ended.status == 1 and "cannot be used" in ended.output and "Make it writable" in ended.output
    assert "Traceback" not in ended.output
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert killable.make(key, "--results", str(disk)).status == 0
    assert killable.bits(key, disk / "tiny") == killable.bits(key)


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ("worker_dies", "a process that loads data has died"),
        ("worker_without_memory", "the machine's memory is used up"),
    ],
)
def test_a_data_worker_that_fails(killable: Project, faults: str, says: str) -> None:
    key = killable.find("pretrain", "mamo")
    (killable.folder / "fault").unlink(missing_ok=True)
    with killable.aside(key) as expected:
        ended = killable.make(key, faults=faults)
        assert ended.status == 1 and f"mamo: {key}: {says}" in ended.output, ended.output
        # A thread of Python's own, which served the worker, may complain behind it.
        assert "Traceback" not in ended.output.partition("mamo: ")[0]
        assert not whole_files(killable.results / key)
        assert killable.make(key, faults=faults).status == 0, "it happens once"
        assert killable.bits(key) == expected, "with workers as without"


def test_a_nan_in_a_batch_is_an_outcome(killable: Project) -> None:
    """Nothing is tried again, no weights are kept, and what would start from them is skipped."""
    key, following = killable.find("pretrain", "mamo"), killable.find("finetune", "retrieval_coco")
    with killable.aside(key), killable.aside(following):
        ended = killable.make(key, faults="nan_in_batch")
        assert ended.status == 0 and "diverged (the loss is not finite at step 2 (" in ended.output, (
            ended.output
        )
        record = killable.record(key)
        assert record["outcome"]["status"] == "diverged" and math.isnan(record["metrics"]["train/loss"])
        assert "model.safetensors" not in whole_files(killable.results / key)
        assert killable.make(following).status == 0
        assert killable.record(following)["outcome"]["status"] == "skipped"


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ("fewer_items", "the evaluation measured 3 of 4 (tr) items"),
        ("impossible_metric", "the metric tr_r1 is 140, which is not between 0 and 100"),
    ],
)
def test_an_evaluation_that_cannot_be_true_leaves_no_record_and_costs_no_training(
    killable: Project, faults: str, says: str
) -> None:
    key = killable.find("finetune", "retrieval_coco")
    with killable.aside(key) as expected:
        ended = killable.make(key, faults=faults)
        assert ended.status == 1 and f"mamo: {key}: {says}" in ended.output, ended.output
        assert not whole_files(killable.results / key)
        again = killable.make(key)
        assert again.status == 0 and "resuming at step 6/6" in again.output
        assert killable.bits(key) == expected


def test_a_clock_that_jumps_back(killable: Project) -> None:
    key = killable.find("pretrain", "mamo")
    with killable.aside(key) as expected:
        assert killable.make(key, faults="clock_jumps", at=25).status == -signal.SIGKILL
        assert killable.make(key, faults="clock_jumps").status == 0
        assert killable.bits(key) == expected
        record = killable.record(key)
        assert 0 <= record["provenance"]["wall_seconds"] < 600
        assert record["details"]["pairs_per_second"] > 0


@pytest.mark.parametrize("faults", ["one_worker", "two_workers"])
def test_any_number_of_data_workers_gives_the_same_bits(killable: Project, faults: str) -> None:
    key = killable.find("pretrain", "mamo")
    with killable.aside(key) as expected:
        assert killable.make(key, faults=faults).status == 0
        assert killable.bits(key) == expected


def test_two_processes_that_make_the_same_run(killable: Project) -> None:
    """The second refuses and names the first; one that waits finds the run done and trains nothing."""
    key = killable.find("pretrain", "mamo")
    words, owner = killable.words(key), killable.results / key / ".owner.json"
    with killable.aside(key) as expected:
        first = killable.killer.start(*words, faults="held")
        end = time.monotonic() + 60
        while not owner.exists() and time.monotonic() < end:
            time.sleep(0.001)
        waiting = killable.killer.start(*words, "--wait")
        second = killable.make(key)
        assert second.status == 1 and f"{key} is being made by another process (" in second.output
        assert f"process {first}, since" in second.output
        (killable.folder / "go").touch()
        made, waited = killable.killer.wait(first), killable.killer.wait(waiting)
        assert (made.status, waited.status) == (0, 0), made.output + waited.output
        assert "step " in made.output and "step " not in waited.output
        assert "waiting for" in waited.output and f"process {first}" in waited.output
        assert killable.bits(key) == expected


def test_what_is_not_the_machines_doing_keeps_its_traceback() -> None:
    assert describe_fault(ValueError("a fault of the code")) is None
    assert describe_fault(FileNotFoundError(2, "No such file or directory", "x")) is None
    full = type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2 GiB")
    assert "--micro-batch" in (describe_fault(full) or "")
    assert "memory is used up" in (
        describe_fault(RuntimeError("DefaultCPUAllocator: can't allocate memory")) or ""
    )
    assert "(results/x)" in (describe_fault(OSError(28, "No space left on device", "results/x")) or "")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mamo.runs.execute import execute
    from mamo.runs.run import RunError
    from mamo.specs.plan import make_plan

    def flock(file: int, how: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    plan = make_plan("smoke")
    run = plan.find("data", "world")
    with pytest.raises(RunError, match=f"{run.key}: this file system does not support locks.*--results"):
        execute(plan, run, tmp_path)
    assert not run.record(tmp_path).exists()


COMPILES = """
import torch
from mamo.runs.faults import describe_fault
layers = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.GELU())
layers.compile()
try:
    layers(torch.zeros(2, 3))
except Exception as error:
    print(describe_fault(error))
"""


def test_compiling_without_a_compiler_is_said_in_a_line(tmp_path: Path) -> None:
    variables = os.environ | {"CXX": "/nowhere-at-all/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", COMPILES], env=variables, capture_output=True, text=True)
    assert "no C++ compiler was found" in done.stdout and "without --compile" in done.stdout, done.stderr
    assert done.stdout.count("\n") == 1
