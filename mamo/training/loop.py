"""The one training loop. It knows no method: a task gives a dict with ``loss``, and everything else stays there."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from mamo.files.record import Check, Outcome
from mamo.model.distributed import is_distributed, rank, world_size
from mamo.model.lengths import set_packing
from mamo.model.transformer import trained_layers
from mamo.specs.optimisation import OptimiserSpec
from mamo.specs.pretrain import CollapseSpec, Precision
from mamo.tasks.task import Task
from mamo.training import precision
from mamo.training.checkpoints import Checkpoints
from mamo.training.checks import Checks
from mamo.training.distributed import average_gradients, random_states, set_random_state, wrap
from mamo.training.interruption import Interrupted, StopSignals
from mamo.training.optimiser import learning_rate, make_optimiser
from mamo.training.outcome import DivergenceMonitor
from mamo.training.watching import Watching


@dataclass
class Course:
    """How long and how to train.

    Attributes:
        total: optimiser steps.
        warmup: steps of linear warm-up.
        validate: called with the number of finished steps at each of ``validate_at``.
        checkpoint_seconds: time between checkpoints.
        events: the folder of TensorBoard's event files; None: none are written.
        micro_batch: pairs of this rank that go through the network at once; None: all.
        compiled: compile the transformer layers.
        activation_checkpointing: keep no activations inside the transformer layers.
    """

    total: int
    warmup: int
    optimiser: OptimiserSpec
    precision: Precision
    collapse: CollapseSpec | None = None
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = 300.0
    events: Path | None = None
    micro_batch: int | None = None
    compiled: bool = False
    activation_checkpointing: bool = False
    validate: Callable[[int], None] | None = None
    validate_at: frozenset[int] = field(default_factory=frozenset)
    extra_state: Callable[[], dict[str, Any]] | None = None
    load_extra_state: Callable[[dict[str, Any]], None] | None = None


@dataclass
class Trained:
    """What came of it.

    Attributes:
        curve: a row of loss parts for each logged step.
        seconds: spent in steps by this process.
        steps: finished steps, those before a resume included.
        steps_per_second: of this process.
        checks: what was looked for in the steps, see :mod:`mamo.training.checks`.
        trained_on: it diverged and went on to the end all the same, as ``collapse.stop`` asks.
    """

    outcome: Outcome
    curve: list[dict[str, float]]
    seconds: float
    steps: int
    steps_per_second: float
    checks: list[Check] = field(default_factory=list)
    trained_on: bool = False


def train(
    task: Task, batches: Callable[[int], Iterable[dict[str, Any]]], course: Course, device: torch.device
) -> Trained:
    """Train ``task`` to the end of the course, from the newest checkpoint if there is one.

    Args:
        batches: step -> the batches from that step on, on the CPU.
    """
    slow = precision.warning(course.precision, device.type)
    if slow and rank() == 0:
        print(f"WARNING: {slow}", file=sys.stderr, flush=True)
    optimiser = make_optimiser(task, course.optimiser)
    if rank():  # the same weights everywhere, but not the same dropout
        torch.manual_seed(torch.initial_seed() + rank())
    curve: list[dict[str, float]] = []
    least = course.collapse.min_spread if course.collapse else None
    checks = Checks(task, task.sound(), course.total, least, course.optimiser.clip)
    monitor = DivergenceMonitor(course.collapse, course.total)
    start = _resume(task, optimiser, course, curve, checks, monitor)
    prepare_layers(task, course)
    # Micro-batches come in several backward passes, after which the loop itself averages over ranks.
    model = task if course.micro_batch else wrap(task)
    stop = StopSignals()
    watching = Watching(course.total, start, course.events, rank() == 0)
    began = saved = time.monotonic()
    outcome = Outcome("converged")
    _train(task, course, device)
    finished = start
    with stop, watching:
        for step, batch in enumerate(batches(start) if start < course.total else (), start):
            checks.begin(step)
            parts = train_step(model, task, optimiser, _to(batch, device), step, course, device)
            checks.end(step)
            finished = step + 1
            due = time.monotonic() - saved > course.checkpoint_seconds
            values, asked, due = _agreed(parts, stop.asked, due)
            checks.see(step, values)
            ended = monitor.see(step, values)
            if ended or step % max(1, course.total // 200) == 0 or step == course.total - 1:
                curve.append({"step": step, **values})
                watching.log(step, values)
            if ended:
                outcome = ended
                break
            watching.step(step + 1, values)
            if course.validate is not None and step + 1 in course.validate_at:
                _evaluate(task)
                course.validate(step + 1)
                _train(task, course, device)
            if course.checkpoints and (asked or due):
                saved = time.monotonic()
                _save(course.checkpoints, task, optimiser, step + 1, curve, course, checks, monitor)
            if asked and step + 1 < course.total:
                raise Interrupted
    _evaluate(task)
    trained_on = False
    if outcome.status == "converged" and finished > start:
        broken = _finite(task, finished)
        trained_on = broken is None and monitor.noticed is not None
        outcome = broken or monitor.noticed or outcome
    seconds = max(time.monotonic() - began, 1e-9)
    long = _any_rank(seconds > course.checkpoint_seconds, device)
    if course.checkpoints and outcome.status == "converged" and long:
        # What follows (a long evaluation, say) may be interrupted too, and shall not cost the training.
        _save(course.checkpoints, task, optimiser, finished, curve, course, checks, monitor)
    speed = (finished - start) / seconds
    return Trained(outcome, curve, seconds, finished, speed, checks.findings(), trained_on)


def _train(task: Task, course: Course, device: torch.device) -> None:
    """Training mode. Sequences are packed where sizes that differ from step to step cost nothing: not on a GPU, which would
    wait for their lengths, and not in compiled layers, which would be compiled for each."""
    task.train()
    set_packing(task, device.type == "cpu" and not course.compiled)


def _evaluate(task: Task) -> None:
    """Evaluation mode, in which a network says the same as one that was loaded to be evaluated, to the last bit."""
    task.eval()
    set_packing(task, False)


@torch.no_grad()
def _finite(task: Task, steps: int) -> Outcome | None:
    """The outcome of a training whose last update broke the weights, which no later loss tells of; None if all are finite."""
    named = {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}
    if not named:
        return None
    largest = torch.stack(torch._foreach_norm([p.detach() for p in named.values()], float("inf")))
    broken = [name for name, good in zip(named, largest.isfinite().tolist(), strict=True) if not good]
    if not broken:
        return None
    return Outcome(
        "diverged",
        f"the weights are not finite after step {steps - 1} ({len(broken)} tensors, {broken[0]} among them)",
    )


def prepare_layers(task: Task, course: Course) -> None:
    """Compile the trained transformer layers, or let them keep no activations, as the course asks."""
    for layer in trained_layers(task):
        layer.checkpointing = course.activation_checkpointing
        if course.compiled:
            layer.compile()


def train_step(
    model: nn.Module,
    task: Task,
    optimiser: torch.optim.Optimizer,
    batch: dict[str, Any],
    step: int,
    course: Course,
    device: torch.device,
) -> dict[str, Tensor]:
    """One optimiser step; its loss parts."""
    rate = learning_rate(step, course.total, course.warmup, course.optimiser.lr, course.optimiser.final_lr)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["multiplier"]

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=course.precision == "bf16")

    optimiser.zero_grad(set_to_none=True)
    if course.micro_batch:
        parts = task.accumulate(batch, course.micro_batch, autocast)
        average_gradients(list(task.parameters()))
    else:
        with autocast():
            parts = model(batch)
        parts["loss"].backward()
    if course.optimiser.clip is not None:
        norm = nn.utils.clip_grad_norm_(task.parameters(), course.optimiser.clip, foreach=True)
        parts = parts | {"gradient_norm": norm}
    optimiser.step()
    task.after_step()
    return parts


def _agreed(parts: dict[str, Tensor], asked: bool, due: bool) -> tuple[dict[str, float], bool, bool]:
    """What all ranks go by: loss parts averaged over them, whether any was asked to stop, whether the first one's clock says
    that a checkpoint is due. Ranks that went by their own would wait for each other for ever."""
    stacked = torch.stack([part.detach().float() for part in parts.values()])
    if not is_distributed():
        return dict(zip(parts, stacked.tolist(), strict=True)), asked, due
    flags = stacked.new_tensor([asked, due and rank() == 0])
    shared = torch.cat([stacked / world_size(), flags])
    dist.all_reduce(shared)
    *values, stops, saves = shared.tolist()
    return dict(zip(parts, values, strict=True)), stops > 0, saves > 0


def _any_rank(flag: bool, device: torch.device) -> bool:
    """Whether a flag is set on any rank; all call it together."""
    if not is_distributed():
        return flag
    found = torch.tensor([flag], dtype=torch.int32, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return bool(found.item())


def _save(
    checkpoints: Checkpoints,
    task: Task,
    optimiser: torch.optim.Optimizer,
    step: int,
    curve: list[dict[str, float]],
    course: Course,
    checks: Checks,
    monitor: DivergenceMonitor,
) -> None:
    """Rank 0 writes a checkpoint with the random numbers of all ranks, which call this together."""
    states = random_states()
    if rank() == 0:
        checkpoints.save(step, _state(task, optimiser, step, curve, course, states, checks, monitor))
    if is_distributed():
        dist.barrier()  # no rank leaves, and ends the others, before the file is whole


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    if device.type == "cpu":
        return batch
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()
    }


def _state(
    task: Task,
    optimiser: torch.optim.Optimizer,
    step: int,
    curve: list[dict[str, float]],
    course: Course,
    states: list[dict[str, Any]],
    checks: Checks,
    monitor: DivergenceMonitor,
) -> dict[str, Any]:
    extra = course.extra_state() if course.extra_state else {}
    return {
        "step": step,
        "task": task.state_dict(),
        "optimiser": optimiser.state_dict(),
        "random": states,
        "curve": curve,
        "extra": extra,
        "checks": checks.state(),
        "monitor": monitor.state(),
    }


def _resume(
    task: Task,
    optimiser: torch.optim.Optimizer,
    course: Course,
    curve: list[dict[str, float]],
    checks: Checks,
    monitor: DivergenceMonitor,
) -> int:
    state = course.checkpoints.load() if course.checkpoints else None
    if state is None:
        return 0
    task.load_state_dict(state["task"])
    optimiser.load_state_dict(state["optimiser"])
    set_random_state(state["random"])
    curve += state["curve"]
    checks.load(state.get("checks", {}))
    monitor.load(state.get("monitor", {}))
    if course.load_extra_state:
        course.load_extra_state(state["extra"])
    print(f"resuming at step {state['step']}/{course.total}", file=sys.stderr, flush=True)
    return int(state["step"])


def pick_device() -> torch.device:
    """This rank's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")
