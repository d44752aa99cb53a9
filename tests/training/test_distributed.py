"""Two gloo processes give the losses and gradients of one, in one piece and in micro-batches; they stop together and resume."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gloo_worker
import pytest
import tiny
import torch

from mamo.data.tokenizer import Tokenizer

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("two")
    tiny.tokenizer(path / "words")
    gloo_worker.write_photos(path / "photos")
    return path


@pytest.fixture(scope="module")
def two(folder: Path) -> dict[str, Any]:
    """Return what rank 0 of two processes found."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": f"{SUPPORT}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(SUPPORT / "gloo_worker.py"), str(folder)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=540,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return torch.load(folder / "result.pt", weights_only=True)


@pytest.mark.parametrize("how", ["whole", "micro", "queue"])
def test_two_processes_equal_one(folder: Path, two: dict[str, Any], how: str) -> None:
    objectives = gloo_worker.ALBEF if how == "queue" else {}
    alone = gloo_worker.losses_and_gradients(Tokenizer.load(folder / "words"), **objectives)
    together = two[how]
    assert set(together) == set(alone)
    for name, value in alone.items():
        torch.testing.assert_close(
            together[name], value, rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_two_processes_see_the_same_samples_in_the_same_steps(folder: Path, two: dict[str, Any]) -> None:
    """From files to losses over two epochs: the same images in the same places, the same losses up to rounding."""
    alone = gloo_worker.from_photos(Tokenizer.load(folder / "words"), folder / "photos")
    assert (
        set(alone) == set(two["photos"]) and len([name for name in alone if name.startswith("images/")]) == 6
    )
    for name, value in alone.items():
        if name.startswith("images/"):
            assert torch.equal(two["photos"][name], value), name
        elif not name.startswith(("spread", "error")):  # of each rank's own positions
            torch.testing.assert_close(
                two["photos"][name], value, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}"
            )


def test_ranks_share_the_re_ranking(folder: Path, two: dict[str, Any]) -> None:
    alone = gloo_worker.pair_scores(Tokenizer.load(folder / "words"))
    torch.testing.assert_close(two["scores"], alone)
    assert len(alone.unique()) > 50


def test_a_signal_to_one_rank_stops_all_and_the_resumed_run_is_the_same(
    folder: Path, two: dict[str, Any]
) -> None:
    """Each rank has its own dropout, so all their random numbers must come back."""
    assert set(two["resumed"]) == set(two["straight"])
    for name, value in two["straight"].items():
        assert torch.equal(two["resumed"][name], value), name
    kept = [path.name for path in (folder / "interrupted").glob("*.pt")]
    assert [name[:14] for name in kept] == [f"step-{gloo_worker.ASKED_AT + 1:09d}"]


def test_ranks_differ_in_dropout(folder: Path, two: dict[str, Any]) -> None:
    """Two ranks with the same dropout on the same pairs would be one: the loss of one process is another than that of two."""
    one = gloo_worker.trained(Tokenizer.load(folder / "words"), folder / "one")
    assert one["loss/0"] != two["straight"]["loss/0"]
    assert one["loss/0"].item() == pytest.approx(two["straight"]["loss/0"].item(), rel=0.1)
