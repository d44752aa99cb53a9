"""Test what a run tells while it trains, and how ``mamo status`` reads it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import tiny
import torch

from mamo.cli.progress import Progress
from mamo.cli.status import Step, last_step
from mamo.cost.work import Part
from mamo.specs.optimisation import OptimiserSpec
from mamo.tasks.pretrain import PretrainTask
from mamo.training import progress_log
from mamo.training.loop import LoopConfig, train
from mamo.training.progress_log import ProgressLog, duration


def test_a_line_says_how_far_how_long_and_the_loss_parts_and_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([100.0, 105.0, 140.0, 145.0])
    monkeypatch.setattr(progress_log.time, "monotonic", lambda: next(clock))
    with ProgressLog(total=50, start=10, events=None, leader=True) as reporter:
        reporter.step(11, {"loss": 9.0})
        reporter.step(20, {"loss": 8.25, "itc": 1.0})
        reporter.step(21, {"loss": 8.0})
    text = capsys.readouterr().err
    # One step took 5 seconds and 39 are left; ten took 40 seconds and 30 are left; the third call is not due.
    first, second = (
        "step 11/50  0:03:15 left  loss 9.000\n",
        "step 20/50  0:02:00 left  loss 8.250 itc 1.000\n",
    )
    assert text == first + second
    log = tmp_path / "run.log"
    assert last_step(log) is None
    log.write_text("x" * 9000 + "\nstep 3/50  0:10:00 left  loss 9.0\n" + text + "something else\n")
    assert last_step(log) == Step(20, 50, "0:02:00", "loss 8.250 itc 1.000")
    log.write_text("no step yet\n")
    assert last_step(log) is None


def test_other_ranks_say_and_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLog(total=5, start=0, events=tmp_path / "events", leader=False) as reporter:
        reporter.step(1, {"loss": 1.0})
        reporter.log(0, {"loss": 1.0})
    assert capsys.readouterr().err == "" and not (tmp_path / "events").exists()


def test_tensorboard_reads_the_curve_of_a_run(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    words = tiny.tokenizer(tmp_path)
    task = PretrainTask(tiny.network(words), tiny.pretrain_spec(), words)
    events = tmp_path / progress_log.EVENTS
    config = LoopConfig(total=3, warmup=1, optimiser=OptimiserSpec(lr=1e-3), precision="fp32", events=events)
    curve = train(
        task, lambda start: (tiny.batch(words, step=s) for s in range(start, 3)), config, torch.device("cpu")
    ).curve
    actual = EventAccumulator(str(events))
    actual.Reload()
    for name in ("loss", "itc", "mrm"):
        scalars = [(event.step, event.value) for event in actual.Scalars(f"train/{name}")]
        assert scalars == [(row["step"], pytest.approx(row[name])) for row in curve]


def test_a_terminal_shows_a_bar_for_each_run_that_is_being_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    parts = {f"pretrain/{name}": Part("pretrain", 10.0) for name in "abcd"}
    with Progress(parts) as progress:
        step = Step(20, 50, "0:02:00", "loss 8.250")
        progress.running({"pretrain/a": step, "pretrain/b": step})
        progress.running({"pretrain/b": step._replace(finished=40)})
        (whole, run) = progress._bar.tasks
        assert (run.completed, run.total) == (40, 50)
        assert whole.completed == pytest.approx(0.8 / 4) and whole.fields["count"] == "0/4"
        assert run.description == "pretrain/b  0:02:00 left  loss 8.250"


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59.6, 3661)] == ["0:00:00", "0:01:00", "1:01:01"]
