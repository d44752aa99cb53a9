"""The one training loop. It knows no method: a task gives a dict with ``loss``, and everything else stays there."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mamo.model.distributed import is_distributed, rank
from mamo.specs.optimisation import OptimiserSpec
from mamo.specs.pretrain import CollapseSpec, Precision
from mamo.tasks.task import Task
from mamo.training.checkpoints import Checkpoints
from mamo.training.optimiser import learning_rate, make_optimiser
from mamo.training.outcome import Outcome, Watch

REQUEUE = 75  # EX_TEMPFAIL: stopped by a signal with its state saved; run it again


class Interrupted(SystemExit):
    """The run was asked to stop (SIGTERM or SIGUSR1), saved its state and ends with code 75."""

    def __init__(self) -> None:
        super().__init__(REQUEUE)


@dataclass
class Course:
    """How long and how to train.

    Attributes:
        total: optimiser steps.
        warmup: steps of linear warm-up.
        validate: called with the number of finished steps at each of ``validate_at``.
        checkpoint_seconds: time between checkpoints.
    """

    total: int
    warmup: int
    optimiser: OptimiserSpec
    precision: Precision
    collapse: CollapseSpec | None = None
    checkpoints: Checkpoints | None = None
    checkpoint_seconds: float = 300.0
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
    """

    outcome: Outcome
    curve: list[dict[str, float]]
    seconds: float
    steps: int
    steps_per_second: float


def train(
    task: Task, batches: Callable[[int], Iterable[dict[str, Any]]], course: Course, device: torch.device
) -> Trained:
    """Train ``task`` to the end of the course, from the newest checkpoint if there is one.

    Args:
        batches: step -> the batches from that step on, on the CPU.
    """
    optimiser = make_optimiser(task, course.optimiser)
    curve: list[dict[str, float]] = []
    start = _resume(task, optimiser, course, curve)
    model: nn.Module = task
    if is_distributed():
        ignored = [name for name, p in task.named_parameters() if not p.requires_grad]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(task, ignored)
        model = DistributedDataParallel(task, find_unused_parameters=True)
    watch, stop = Watch(course.collapse), _StopSignals()
    began = saved = shown = time.monotonic()
    outcome = Outcome("converged")
    task.train()
    finished = start
    with stop:
        for step, batch in enumerate(batches(start) if start < course.total else (), start):
            values = _step(model, task, optimiser, _to(batch, device), step, course, device)
            finished = step + 1
            ended = watch.see(step, values)
            if ended or step % max(1, course.total // 200) == 0 or step == course.total - 1:
                curve.append({"step": step, **values})
            if ended:
                outcome = ended
                break
            now = time.monotonic()
            if now - shown > 10 and rank() == 0:
                shown = now
                left = (now - began) / (step + 1 - start) * (course.total - step - 1)
                parts = " ".join(f"{name} {value:.3f}" for name, value in values.items())
                print(
                    f"step {step + 1}/{course.total}  {left:.0f} s left  {parts}", file=sys.stderr, flush=True
                )
            if course.validate is not None and step + 1 in course.validate_at:
                task.eval()
                course.validate(step + 1)
                task.train()
            if course.checkpoints and rank() == 0 and (stop.asked or now - saved > course.checkpoint_seconds):
                saved = now
                course.checkpoints.save(step + 1, _state(task, optimiser, step + 1, curve, course))
            if stop.asked and step + 1 < course.total:
                raise Interrupted
    task.eval()
    seconds = time.monotonic() - began
    return Trained(outcome, curve, seconds, finished, (finished - start) / seconds)


def _step(
    model: nn.Module,
    task: Task,
    optimiser: torch.optim.Optimizer,
    batch: dict[str, Any],
    step: int,
    course: Course,
    device: torch.device,
) -> dict[str, float]:
    """One optimiser step; its loss parts as numbers."""
    rate = learning_rate(step, course.total, course.warmup, course.optimiser.lr, course.optimiser.final_lr)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["multiplier"]
    with torch.autocast(device.type, torch.bfloat16, enabled=course.precision == "bf16"):
        parts = model(batch)
    optimiser.zero_grad(set_to_none=True)
    parts["loss"].backward()
    if course.optimiser.clip is not None:
        nn.utils.clip_grad_norm_(task.parameters(), course.optimiser.clip, foreach=True)
    optimiser.step()
    task.after_step()
    names = list(parts)
    return dict(zip(names, torch.stack([parts[n].detach().float() for n in names]).tolist(), strict=True))


def _to(batch: dict[str, Any], device: torch.device) -> dict[str, Any]:
    if device.type == "cpu":
        return batch
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()
    }


def _state(
    task: Task, optimiser: torch.optim.Optimizer, step: int, curve: list[dict[str, float]], course: Course
) -> dict[str, Any]:
    extra = course.extra_state() if course.extra_state else {}
    return {
        "step": step,
        "task": task.state_dict(),
        "optimiser": optimiser.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "curve": curve,
        "extra": extra,
    }


def _resume(
    task: Task, optimiser: torch.optim.Optimizer, course: Course, curve: list[dict[str, float]]
) -> int:
    state = course.checkpoints.load() if course.checkpoints else None
    if state is None:
        return 0
    task.load_state_dict(state["task"])
    optimiser.load_state_dict(state["optimiser"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    curve += state["curve"]
    if course.load_extra_state:
        course.load_extra_state(state["extra"])
    print(f"resuming at step {state['step']}/{course.total}", file=sys.stderr, flush=True)
    return int(state["step"])


class _StopSignals:
    """Remembers SIGTERM and SIGUSR1, so that the loop can save and leave between two steps."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, *_: object) -> None:
        self.asked = True

    def __enter__(self) -> _StopSignals:
        try:
            for number in (signal.SIGTERM, signal.SIGUSR1):
                self._before[number] = signal.signal(number, self._ask)
        except ValueError:  # not in the main thread: signals stay with whoever owns them
            self._before.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def pick_device() -> torch.device:
    """This rank's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")
