"""The loop: schedule, exact resume, outcomes, checkpoints, locks."""

from __future__ import annotations

import json
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from filelock import FileLock

from mamo.specs.identity import Run
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.pretrain import CollapseSpec
from mamo.tasks.pretrain import PretrainTask
from mamo.training.checkpoints import Checkpoints
from mamo.training.interruption import exit_on_signal
from mamo.training.loop import LoopConfig, train
from mamo.training.optimiser import learning_rate, make_optimiser
from mamo.training.outcome import DivergenceMonitor

CPU = torch.device("cpu")


def test_learning_rate_warms_up_and_falls_linearly() -> None:
    rates = [learning_rate(step, 12, 2, 1.0, 0.1) for step in range(12)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[-1] == pytest.approx(0.1)
    falls = {round(a - b, 9) for a, b in zip(rates[2:], rates[3:], strict=False)}
    assert len(falls) == 1


def test_epochs_are_pairs_over_batch() -> None:
    schedule = ScheduleSpec(epochs=30, warmup_steps=2500)
    assert schedule.total_steps(5_200_000, 1536) == 30 * 3386
    assert ScheduleSpec(epochs=10, steps_per_epoch=7).total_steps(5_200_000, 1536) == 70
    assert ScheduleSpec(epochs=1, warmup_steps=None, warmup_share=0.1).warmup(50) == 5


def test_no_decay_on_vectors_and_new_parts_learn_faster(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)
    task = PretrainTask(tiny.network(words), tiny.pretrain_spec(), words)
    optimiser = make_optimiser(task, OptimiserSpec(new_multiplier=2.0, vision_multiplier=0.5))
    where = {id(p): g for g in optimiser.param_groups for p in g["params"]}
    network = task.network
    assert where[id(network.vision.norm.weight)]["weight_decay"] == 0
    assert where[id(network.itm_head.weight)]["multiplier"] == 2.0
    assert where[id(network.vision.patch_embedding.weight)]["multiplier"] == 0.5
    assert where[id(network.text.layers[0].mlp.expand.weight)]["multiplier"] == 1.0
    assert not any(id(p) in where for p in task.target.parameters())


def _config(total: int, folder: Path | None = None, **changes: Any) -> LoopConfig:
    return LoopConfig(
        total=total,
        warmup=2,
        optimiser=OptimiserSpec(lr=1e-3, final_lr=1e-4),
        precision="fp32",
        collapse=CollapseSpec(min_spread=0.0),
        checkpoints=Checkpoints(folder) if folder else None,
        **changes,
    )


def _task(words) -> PretrainTask:
    spec = tiny.pretrain_spec(model=tiny.model_spec(dropout=0.1).model_dump())
    torch.manual_seed(5)
    network = tiny.network(words, dropout=0.1)
    return PretrainTask(network, spec, words)


class Killed(Exception):
    """Raised in the middle of a run."""


@pytest.mark.parametrize("killed_after", [3, 4, 7])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_by_bit(tmp_path: Path, killed_after: int) -> None:
    words = tiny.tokenizer(tmp_path / "words")

    def batches(start: int):
        for step in range(start, 8):
            yield tiny.batch(words, step=step)

    def dying(start: int):
        for step in range(start, 8):
            if step == killed_after:
                raise Killed
            yield tiny.batch(words, step=step)

    torch.manual_seed(1)
    whole = _task(words)
    torch.manual_seed(1)
    curve = train(whole, batches, _config(8), CPU).curve

    torch.manual_seed(1)
    first = _task(words)
    torch.manual_seed(1)
    with pytest.raises(Killed):
        train(first, dying, _config(8, tmp_path / "run", checkpoint_seconds=0.0), CPU)
    torch.manual_seed(99)  # what the process did before must not matter
    second = _task(words)
    resumed = train(second, batches, _config(8, tmp_path / "run"), CPU)
    for (name, a), b in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert resumed.curve == curve and resumed.steps == 8


@pytest.mark.parametrize("asked_by", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP])
def test_a_signal_saves_and_leaves_with_the_requeue_code(tmp_path: Path, asked_by: signal.Signals) -> None:
    words = tiny.tokenizer(tmp_path / "words")
    asked: list[int] = []

    def batches(start: int):
        for step in range(start, 8):
            if step == 5 and not asked:
                asked.append(step)
                os.kill(os.getpid(), asked_by)
            yield tiny.batch(words, step=step)

    torch.manual_seed(1)
    whole = _task(words)
    torch.manual_seed(1)
    train(whole, lambda start: (tiny.batch(words, step=s) for s in range(start, 8)), _config(8), CPU)
    torch.manual_seed(1)
    first = _task(words)
    torch.manual_seed(1)
    handler = signal.getsignal(asked_by)
    with pytest.raises(SystemExit) as left:
        train(first, batches, _config(8, tmp_path / "run"), CPU)
    assert left.value.code == 75 and signal.getsignal(asked_by) is handler
    assert [path.name[:14] for path in (tmp_path / "run").glob("*.pt")] == ["step-000000006"]
    torch.manual_seed(99)
    second = _task(words)
    train(second, batches, _config(8, tmp_path / "run"), CPU)
    for (name, a), b in zip(whole.state_dict().items(), second.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_signal_outside_of_training_leaves_with_the_requeue_code(tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as left, exit_on_signal():
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(5)
    assert left.value.code == 75


def test_what_follows_the_training_can_be_interrupted_without_losing_it(tmp_path: Path) -> None:
    """A run long enough for checkpoints leaves one at its end: the next call trains nothing and goes on with the rest."""
    words = tiny.tokenizer(tmp_path / "words")
    once = _task(words)
    batches = lambda start: (tiny.batch(words, step=s) for s in range(start, 3))  # noqa: E731
    curve = train(once, batches, _config(3, tmp_path / "run", checkpoint_seconds=0.0), CPU).curve
    again = _task(words)
    never = lambda start: pytest.fail("trained again")  # noqa: E731
    trained = train(again, never, _config(3, tmp_path / "run"), CPU)
    assert (trained.steps, trained.curve) == (3, curve)
    assert all(
        torch.equal(a, b)
        for a, b in zip(once.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_nothing_is_trained_in_no_steps(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)
    task = _task(words)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items()}
    trained = train(task, lambda start: iter(()), _config(0), CPU)
    assert (trained.steps, trained.curve, trained.outcome.status) == (0, [], "converged")
    assert all(torch.equal(tensor, before[name]) for name, tensor in task.state_dict().items())


def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.save(step, {"step": step})
    kept = sorted(tmp_path.glob("*.pt"))
    assert len(kept) == 2
    content = bytearray(kept[-1].read_bytes())
    content[len(content) // 2] ^= 1
    kept[-1].write_bytes(content)
    assert checkpoints.load() == {"step": 2}
    assert "damaged" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_the_run_as_diverged(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)

    def batches(start: int):
        for step in range(start, 6):
            batch = tiny.batch(words, step=step)
            if step == 3:
                batch["image"] = batch["image"] * math.nan
            yield batch

    trained = train(_task(words), batches, _config(6), CPU)
    assert trained.outcome.status == "diverged"
    assert "step 3" in trained.outcome.reason
    assert trained.steps == 4 and trained.curve[-1]["step"] == 3


def test_a_collapsed_representation_ends_the_run_as_diverged() -> None:
    monitor = DivergenceMonitor(CollapseSpec(min_spread=0.1, patience=3), 100)
    values = [{"loss": 1.0, "spread_image": s, "spread_text": 0.5} for s in (0.05, 0.2, 0.05, 0.05, 0.05)]
    seen = [monitor.observe(step, row) for step, row in enumerate(values)]
    assert seen[:4] == [None] * 4 and seen[4] is not None and seen[4].status == "diverged"
    assert "within each image" in seen[4].reason


def _rising(least: float, most: float) -> list[dict[str, float]]:
    """An error that falls to its least value half-way and then rises; MLM's loss falls all the time."""
    way = [1.0 - (1.0 - least) * i / 50 for i in range(50)] + [min(most, least + i / 10) for i in range(50)]
    return [{"loss": 3.0, "mlm": 5.0 - step / 50, "error_mrm": error} for step, error in enumerate(way)]


def test_a_loss_that_rises_above_its_own_minimum_and_stays_there_is_a_divergence() -> None:
    monitor = DivergenceMonitor(CollapseSpec(rise=2.0, rise_patience=0.1), 100)
    ended = [monitor.observe(step, values) for step, values in enumerate(_rising(0.3, 1.0))]
    outcome = next(outcome for outcome in ended if outcome is not None)
    assert outcome.status == "diverged" and "the loss mrm has risen" in outcome.reason
    # Once up and down again is no divergence, and neither is a rise of less than the factor.
    monitor = DivergenceMonitor(CollapseSpec(rise=2.0, rise_patience=0.1), 100)
    assert not any(monitor.observe(step, values) for step, values in enumerate(_rising(0.3, 0.5)))


def test_a_run_of_a_few_steps_does_not_diverge_by_a_rise() -> None:
    monitor = DivergenceMonitor(CollapseSpec(), 4)
    assert not any(monitor.observe(step, {"loss": 1.0, "error_mrm": 10.0**step}) for step in range(4))


def test_a_diverged_run_may_train_on_and_its_monitor_goes_on_after_a_resume(tmp_path: Path) -> None:
    spec = CollapseSpec(rise=2.0, rise_patience=0.1, stop=False)
    monitor, rows = DivergenceMonitor(spec, 100), _rising(0.3, 1.0)
    for step, values in enumerate(rows[:60]):
        assert monitor.observe(step, values) is None
    resumed = DivergenceMonitor(spec, 100)
    resumed.load(monitor.state())
    late = DivergenceMonitor(spec, 100)  # resumed once it has noticed
    for one in (monitor, resumed):
        for step, values in enumerate(rows[60:], 60):
            assert one.observe(step, values) is None
        assert one.noticed is not None and one.noticed.status == "diverged"
    assert monitor.noticed == resumed.noticed
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(100, monitor.state())
    late.load(checkpoints.load() or {})
    assert late.noticed == monitor.noticed


def test_one_run_is_made_by_one_process_only(tmp_path: Path) -> None:
    from mamo.runs.execute import execute
    from mamo.runs.run import RunError
    from mamo.specs.plan import make_plan

    plan = make_plan("smoke")
    run: Run = plan.find("data", "world")
    directory = run.directory(tmp_path)
    directory.mkdir(parents=True)
    with FileLock(directory / ".lock"), pytest.raises(RunError, match="being made by another process"):
        execute(plan, run, tmp_path)
    assert not run.record(tmp_path).exists()


def test_a_finished_run_is_not_made_again(tmp_path: Path) -> None:
    from mamo.runs.execute import execute
    from mamo.specs.plan import make_plan

    plan = make_plan("smoke")
    run = plan.find("data", "world")
    run.directory(tmp_path).mkdir(parents=True)
    record = {"run": run.id, "outcome": {"status": "converged", "reason": ""}, "details": {"made": "before"}}
    run.record(tmp_path).write_text(json.dumps(record))
    assert execute(plan, run, tmp_path).as_json() == record


def test_a_missing_input_says_which_command_makes_it(tmp_path: Path) -> None:
    from mamo.runs.execute import execute
    from mamo.runs.run import RunError
    from mamo.specs.plan import make_plan

    plan = make_plan("smoke")
    with pytest.raises(RunError, match="first run `mamo prepare --scale"):
        execute(plan, plan.find("data", "coco"), tmp_path)


def test_data_that_cannot_be_read_is_an_error_of_the_run(tmp_path: Path) -> None:
    from mamo.runs.execute import execute
    from mamo.runs.run import RunError
    from mamo.specs.plan import make_plan

    plan = make_plan("flickr8k")
    run = plan.find("data", "flickr8k")
    with pytest.raises(RunError, match=r"data/flickr8k-.*Flickr8k"):
        execute(plan, run, tmp_path / "results", tmp_path / "empty")
    assert not run.record(tmp_path / "results").exists()


def test_an_interrupted_world_is_begun_anew(tmp_path: Path) -> None:
    from mamo.runs.execute import execute
    from mamo.specs.plan import make_plan

    plan = make_plan("smoke")
    run = plan.find("data", "world")
    for leftover in ("release", "release.partial"):
        (run.directory(tmp_path) / leftover / "coco").mkdir(parents=True)
    execute(plan, run, tmp_path)
    assert (run.directory(tmp_path) / "release" / "coco" / "dataset_coco.json").is_file()
    assert not (run.directory(tmp_path) / "release.partial").exists()
