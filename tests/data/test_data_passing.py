"""Batches of worker processes arrive on machines with little shared memory, long paths and few open files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mamo.data.batches import passing
from mamo.data.batches.loader import SECONDS_A_TURN, TURNS, TrainLoader
from mamo.runs.faults import describe_fault

WORKER = Path(__file__).resolve().parents[1] / "support" / "passing_worker.py"
BATCH = 4_000_000  # bytes


def fetched(*before: str, **environment: str) -> str:
    """Return the way that four batches took between processes."""
    words = [*before, sys.executable, str(WORKER), str(BATCH)]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | environment, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_long_path_of_temporary_files(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 25)
    folder.mkdir()
    assert fetched(TMPDIR=str(folder)).startswith("0 of 4 through pipes")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_shared_memory_that_holds_a_batch_and_a_half() -> None:
    own = ["unshare", "-m", "bash", "-c", 'mount -t tmpfs -o size=8m tmpfs /dev/shm && exec "$@"', "-"]
    if os.geteuid() or subprocess.run([*own, "true"], capture_output=True).returncode:
        pytest.skip("a /dev/shm of its own needs root")
    assert int(fetched(*own).split()[0]) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_limit_of_open_files_is_raised() -> None:
    few = ["bash", "-c", 'ulimit -Sn 64 && exec "$@"', "-"]
    assert int(fetched(*few).split()[-2]) > 64


def test_what_does_not_fit_is_piped_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    batch = {"image": torch.rand(2, 3), "text": ["a", "b"], "ids": torch.tensor([1, 2])}
    collate = passing.Shared(lambda samples: batch, True)
    monkeypatch.setattr(passing, "has_room", lambda size: size == 24 + 16)
    assert collate([]) is batch and batch["image"].is_shared()
    for refusing in (passing.Shared(lambda samples: batch, False), collate):
        monkeypatch.setattr(passing, "has_room", lambda size, refusing=refusing: refusing is not collate)
        piped = refusing([])
        assert isinstance(piped, passing.Piped) and list(piped.batch()) == list(batch)
        assert torch.equal(piped.batch()["image"], batch["image"]) and piped.batch()["text"] == ["a", "b"]


def test_a_part_of_shared_memory_stays_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 60, "total": 100})())
    assert passing.has_room(35) and not passing.has_room(36)
    monkeypatch.undo()
    monkeypatch.setattr(passing, "SHARED_MEMORY", tmp_path / "none")
    assert not passing.has_room(0)


def test_sockets_go_where_their_paths_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, actual in (("/x" * 50, "/tmp"), ("/tmp", "/tmp"), ("/nowhere", "/tmp")):
        monkeypatch.setattr("tempfile.tempdir", folder)
        assert passing.socket_folder() == actual


def test_a_batch_that_never_comes_ends_with_the_reason() -> None:
    class Waiting:
        calls = 0

        def __next__(self) -> None:
            self.calls += 1
            raise RuntimeError(f"DataLoader timed out after {SECONDS_A_TURN} seconds")

    waiting = Waiting()
    with pytest.raises(RuntimeError) as ended:
        TrainLoader._next(waiting)  # type: ignore[arg-type]
    assert waiting.calls == TURNS
    said = describe_fault(ended.value) or ""
    assert "/dev/shm, TMPDIR and open files" in said and "memory is used up" not in said
    bus = RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")
    assert "--shm-size" in (describe_fault(bus) or "")
