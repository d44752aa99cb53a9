"""The training loop. It knows nothing about the method: a task returns a dict with ``loss`` and does the rest itself."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist

from mamo.data.batches.collate import Batch
from mamo.files.record import Check, Outcome
from mamo.model.distributed import is_distributed, rank, world_size
from mamo.model.packing import set_packing
from mamo.model.transformer import trained_layers
from mamo.specs.optimisation import OptimiserSpec
from mamo.specs.pretrain import CollapseSpec, Precision
from mamo.tasks.task import Task
from mamo.training import precision
from mamo.training.checkpoints import Checkpoints, State
from mamo.training.checks import Checks
from mamo.training.distributed import average_gradients, random_states, set_random_state, wrap
from mamo.training.interruption import Interrupted, StopSignals
from mamo.training.optimiser import learning_rate, make_optimiser
from mamo.training.outcome import DivergenceMonitor
from mamo.training.progress_log import ProgressLog


@dataclass
class LoopConfig:
    """Configuration of one training loop.

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
    extra_state: Callable[[], State] | None = None
    load_extra_state: Callable[[State], None] | None = None


@dataclass
class Trained:
    """Result of a training.

    Attributes:
        curve: a row of loss parts for each logged step.
        seconds: time that this process spent in steps.
        steps: finished steps, including those before a resume.
        steps_per_second: of this process.
        checks: findings about the steps, see :mod:`mamo.training.checks`.
        trained_on: it diverged and trained to the end anyway, as ``collapse.stop: false`` asks.
    """

    outcome: Outcome
    curve: list[dict[str, float]]
    seconds: float
    steps: int
    steps_per_second: float
    checks: list[Check] = field(default_factory=list)
    trained_on: bool = False


def train(
    task: Task, batches: Callable[[int], Iterable[Batch]], config: LoopConfig, device: torch.device
) -> Trained:
    """Train ``task`` to its last step, from the newest checkpoint if there is one.

    Args:
        batches: step -> the batches from that step on, on the CPU.
    """
    slow = precision.warning(config.precision, device.type)
    if slow and rank() == 0:
        print(f"WARNING: {slow}", file=sys.stderr, flush=True)
    return Trainer(task, config, device).run(batches)


class Trainer:
    """One training: the task with all the state that changes from step to step, which a checkpoint holds.

    Attributes:
        start: the first step of this process.
    """

    def __init__(self, task: Task, config: LoopConfig, device: torch.device) -> None:
        self.task, self.config, self.device = task, config, device
        self.optimiser = make_optimiser(task, config.optimiser)
        if rank():  # same weights on all ranks, but different dropout
            torch.manual_seed(torch.initial_seed() + rank())
        self.curve: list[dict[str, float]] = []
        least = config.collapse.min_spread if config.collapse else None
        self.checks = Checks(task, task.expectations(), config.total, least, config.optimiser.clip)
        self.monitor = DivergenceMonitor(config.collapse, config.total)
        self.start = self._resume()
        prepare_layers(task, config)
        # Micro-batches take several backward passes, after which the loop itself averages over ranks.
        self.model = task if config.micro_batch else wrap(task)

    def run(self, batches: Callable[[int], Iterable[Batch]]) -> Trained:
        """Train to the last step, or until the training diverges.

        Raises:
            Interrupted: a signal asked for it; a checkpoint holds the state.
        """
        config, start = self.config, self.start
        stop, log = StopSignals(), ProgressLog(config.total, start, config.events, rank() == 0)
        began = saved = time.monotonic()
        ended: Outcome | None = None
        finished = start
        self._training_mode()
        with stop, log:
            for step, batch in enumerate(batches(start) if start < config.total else (), start):
                self.checks.begin(step)
                parts = self._step(batch, step)
                self.checks.end(step)
                finished = step + 1
                due = time.monotonic() - saved > config.checkpoint_seconds
                # From here on all ranks have the same values, so that they decide alike and none waits for one that has left.
                values, asked, due = _agreed(parts, stop.asked, due)
                self.checks.observe(step, values)
                ended = self.monitor.observe(step, values)
                # Some 200 rows, whatever the length of the run; the last step is always one of them.
                if ended or step % max(1, config.total // 200) == 0 or finished == config.total:
                    self.curve.append({"step": step, **values})
                    log.log(step, values)
                if ended:
                    break
                log.step(finished, values)
                if config.validate is not None and finished in config.validate_at:
                    self._evaluation_mode()
                    config.validate(finished)
                    self._training_mode()
                # Between two steps, so that a checkpoint never holds half an update.
                if asked or due:
                    saved = time.monotonic()
                    self._save(finished)
                # A run stopped at its last step has nothing left to train: it goes on to its evaluation.
                if asked and finished < config.total:
                    raise Interrupted
        self._evaluation_mode()
        outcome, trained_on = ended or Outcome("converged"), False
        if ended is None and finished > start:
            broken = _broken_weights(self.task, finished)
            trained_on = broken is None and self.monitor.noticed is not None
            outcome = broken or self.monitor.noticed or outcome
        seconds = max(time.monotonic() - began, 1e-9)
        long = _any_rank(seconds > config.checkpoint_seconds, self.device)
        if outcome.status == "converged" and long:
            # A long evaluation after this may be interrupted too; that must not lose the training.
            self._save(finished)
        speed = (finished - start) / seconds
        return Trained(outcome, self.curve, seconds, finished, speed, self.checks.findings(), trained_on)

    def _step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        batch = _to(batch, self.device)
        return train_step(self.model, self.task, self.optimiser, batch, step, self.config, self.device)

    def _training_mode(self) -> None:
        """Switch to training mode; pack sequences only on CPU without ``torch.compile``.

        Packed sizes change every step: reading them forces a GPU sync, and each new size triggers a recompile.
        """
        self.task.train()
        set_packing(self.task, self.device.type == "cpu" and not self.config.compiled)

    def _evaluation_mode(self) -> None:
        """Switch to evaluation mode, in which a network gives bit for bit the same as one loaded to be evaluated."""
        self.task.eval()
        set_packing(self.task, False)

    def _save(self, step: int) -> None:
        """Let rank 0 write a checkpoint with the random states of all ranks; all ranks call it together."""
        if self.config.checkpoints is None:
            return
        states = random_states()
        if rank() == 0:
            self.config.checkpoints.save(step, self._state(step, states))
        if is_distributed():
            dist.barrier()  # no rank may leave, and so end the others, before the file is complete

    def _state(self, step: int, random: list[State]) -> State:
        return {
            "step": step,
            "task": self.task.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": random,
            "curve": self.curve,
            "extra": self.config.extra_state() if self.config.extra_state else {},
            "checks": self.checks.state(),
            "monitor": self.monitor.state(),
        }

    def _resume(self) -> int:
        """Load the newest checkpoint and return its step; 0 without one."""
        state = self.config.checkpoints.load() if self.config.checkpoints else None
        if state is None:
            return 0
        self.task.load_state_dict(state["task"])
        self.optimiser.load_state_dict(state["optimiser"])
        set_random_state(state["random"])
        self.curve += state["curve"]
        self.checks.load(state.get("checks", {}))
        self.monitor.load(state.get("monitor", {}))
        if self.config.load_extra_state:
            self.config.load_extra_state(state["extra"])
        print(f"resuming at step {state['step']}/{self.config.total}", file=sys.stderr, flush=True)
        return int(state["step"])


@torch.no_grad()
def _broken_weights(task: Task, steps: int) -> Outcome | None:
    """Return an outcome if the last update broke the weights, which no later loss would show; None if all are finite."""
    named = {name: parameter for name, parameter in task.named_parameters() if parameter.requires_grad}
    if not named:
        return None
    # Infinity norms let NaN and infinity through, and one call reads all tensors.
    largest = torch.stack(torch._foreach_norm([p.detach() for p in named.values()], float("inf")))
    broken = [name for name, good in zip(named, largest.isfinite().tolist(), strict=True) if not good]
    if not broken:
        return None
    return Outcome(
        "diverged",
        f"the weights are not finite after step {steps - 1} ({len(broken)} tensors, {broken[0]} among them)",
    )


def prepare_layers(task: Task, config: LoopConfig) -> None:
    """Compile the trained transformer layers, or checkpoint their activations, as the configuration says."""
    for layer in trained_layers(task):
        layer.checkpointing = config.activation_checkpointing
        if config.compiled:
            layer.compile()


def train_step(
    model: nn.Module,
    task: Task,
    optimiser: torch.optim.Optimizer,
    batch: Batch,
    step: int,
    config: LoopConfig,
    device: torch.device,
) -> dict[str, Tensor]:
    """Make one optimiser step and return its loss parts."""
    rate = learning_rate(step, config.total, config.warmup, config.optimiser.lr, config.optimiser.final_lr)
    for group in optimiser.param_groups:
        group["lr"] = rate * group["multiplier"]

    def autocast() -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16")

    # None and not zeros: AdamW skips a parameter that no loss reached, instead of decaying it.
    optimiser.zero_grad(set_to_none=True)
    if config.micro_batch:
        parts = task.accumulate(batch, config.micro_batch, autocast)
        average_gradients(list(task.parameters()))
    else:
        with autocast():
            parts = model(batch)
        parts["loss"].backward()
    if config.optimiser.clip is not None:
        # Gradients are averaged over ranks by now, so every rank clips by the same norm.
        norm = nn.utils.clip_grad_norm_(task.parameters(), config.optimiser.clip, foreach=True)
        parts = parts | {"gradient_norm": norm}
    optimiser.step()
    task.after_step()
    return parts


def _agreed(parts: dict[str, Tensor], asked: bool, due: bool) -> tuple[dict[str, float], bool, bool]:
    """Agree over all ranks: loss parts averaged, stop if any was asked to, checkpoint if the first rank's clock says so.
    Ranks that decided on their own would wait for each other for ever."""
    stacked = torch.stack([part.detach().float() for part in parts.values()])
    if not is_distributed():
        return dict(zip(parts, stacked.tolist(), strict=True)), asked, due
    flags = stacked.new_tensor([asked, due and rank() == 0])
    shared = torch.cat([stacked / world_size(), flags])
    dist.all_reduce(shared)
    # One transfer for everything: each one would wait for the GPU.
    *values, stops, saves = shared.tolist()
    return dict(zip(parts, values, strict=True)), stops > 0, saves > 0


def _any_rank(flag: bool, device: torch.device) -> bool:
    """Check whether a flag is set on any rank; all ranks call it together."""
    if not is_distributed():
        return flag
    raised = torch.tensor([flag], dtype=torch.int32, device=device)
    dist.all_reduce(raised, dist.ReduceOp.MAX)
    return bool(raised.item())


def _to(batch: Batch, device: torch.device) -> Batch:
    if device.type == "cpu":
        return batch
    return {
        k: v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v for k, v in batch.items()
    }


def pick_device() -> torch.device:
    """Return this rank's GPU if there is one, else the CPU."""
    if torch.cuda.is_available():
        # torchrun numbers the processes of a machine; each takes the GPU of its number.
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")
