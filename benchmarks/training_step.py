"""Pairs per CPU-second of a whole pre-training step: the product's, the plain one's, and one of three objectives.

python -m benchmarks training_step
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.batches import batch_of, captions, vocabulary
from benchmarks.measure import Result, alternating, operations, ratio
from benchmarks.three_objective_step import ThreeObjectives
from mamo.method import PlainStep
from mamo.model.mamo import Mamo
from mamo.model.packing import set_packing
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import read_scale
from mamo.tasks.pretrain import PretrainTask
from mamo.training.optimiser import make_optimiser

ROUNDS, STEPS = 11, 1
RUN = 250  # steps of a run, of which the target's momentum is a share
WARM_UP = 6  # rounds: a process goes on asking the system for memory for some steps
ABLATIONS = Path(__file__).parents[1] / "ablations"
PRECISIONS = ("bf16", "fp32")


def step_of(
    losses: Any,
    trained: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    batch: dict[str, Any],
    precision: str,
    foreach: bool | None,
) -> Callable[[], None]:
    """One optimiser step, as a function to be measured.

    Args:
        losses: gives a dict with ``loss`` of a batch, and is told when a step is done.
        trained: whose gradients are clipped.
        foreach: how they are clipped.
    """
    parameters = [p for p in trained.parameters() if p.requires_grad]
    number = 0

    def step() -> None:
        nonlocal number
        number += 1
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = losses(batch | {"step": number})["loss"]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=foreach)
        optimiser.step()
        losses.after_step()

    return step


def product_step(task: PretrainTask, batch: dict[str, Any], precision: str) -> Callable[[], None]:
    """A step as the training loop makes it on a CPU."""
    task.train()
    set_packing(task, True)
    return step_of(task, task, make_optimiser(task, task.spec.optimiser), batch, precision, foreach=True)


def sides(spec: PretrainSpec) -> dict[tuple[str, str], Callable[[], None]]:
    """(step, precision) -> a step; every one trains weights of its own."""
    tokenizer = vocabulary(captions(500), 600)
    batch = batch_of(spec.model, tokenizer, spec.batch_size)
    torch.manual_seed(0)
    task = PretrainTask(Mamo(spec.model, tokenizer.vocab_size), spec, tokenizer, steps=RUN)
    steps: dict[tuple[str, str], Callable[[], None]] = {}
    for precision in PRECISIONS:
        steps["product", precision] = product_step(copy.deepcopy(task), batch, precision)
        own = copy.deepcopy(task)
        trained = [p for p in own.parameters() if p.requires_grad]
        plain = torch.optim.AdamW(trained, lr=spec.optimiser.lr)
        steps["plain", precision] = step_of(PlainStep(own), own, plain, batch, precision, foreach=None)
        for name, distils in (("three objectives", True), ("three, no momentum model", False)):
            three = ThreeObjectives(spec.model, tokenizer, spec.batch_size, distils)
            trained = [p for p in three.parameters() if p.requires_grad]
            optimiser = torch.optim.AdamW(trained, lr=spec.optimiser.lr)
            steps[name, precision] = step_of(three, three, optimiser, batch, precision, foreach=None)
    return steps


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    spec = read_scale("demo", ABLATIONS).pretrain
    result = Result("training_step", "One pre-training step at scale demo")
    measured = sides(spec)

    def steps(step: Callable[[], None]) -> Callable[[], None]:
        def several() -> None:
            for _ in range(STEPS):
                step()

        return several

    seconds = alternating({side: steps(step) for side, step in measured.items()}, ROUNDS, WARM_UP)  # type: ignore[misc, arg-type]
    pairs = STEPS * spec.batch_size
    for name in dict.fromkeys(name for name, _ in measured):
        rates = {p: pairs / statistics.median(seconds[name, p]) for p in PRECISIONS}  # type: ignore[index]
        result.row("Pairs per CPU-second", step=name, **rates)
    for words, more, less in (
        ("plain fp32 / product bf16", ("plain", "fp32"), ("product", "bf16")),
        ("plain fp32 / product fp32", ("plain", "fp32"), ("product", "fp32")),
        ("plain bf16 / product bf16", ("plain", "bf16"), ("product", "bf16")),
        ("three objectives fp32 / product fp32", ("three objectives", "fp32"), ("product", "fp32")),
        ("three objectives bf16 / product bf16", ("three objectives", "bf16"), ("product", "bf16")),
    ):
        times = ratio(seconds[more], seconds[less])  # type: ignore[index]
        result.row(
            "How many times the cost", sides=words, median=times.median, low=times.low, high=times.high
        )
    counted = operations(measured["product", "fp32"]) / spec.batch_size
    result.note(
        f"Median of {ROUNDS} rounds of {STEPS} steps, sides taking turns; low and high bound the middle half. "
        f"Batch {spec.batch_size}, captions of 12 tokens in the mean and 20 at most; {counted / 1e9:.2f} GFLOP a pair "
        "in the product's step."
    )
    result.write()


if __name__ == "__main__":
    main()
