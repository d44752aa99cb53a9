"""Measure where the time of a training step goes, and how near it comes to the speed of its own matrix products.

python -m benchmarks step_profile
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from benchmarks.batches import batch_of, captions, vocabulary
from benchmarks.measure import Result
from benchmarks.training_step import RUN, product_step
from mamo.model.mamo import Mamo
from mamo.specs.scale import read_scale
from mamo.tasks.pretrain import PretrainTask

ABLATIONS = Path(__file__).parents[1] / "ablations"
STEPS, WARM_UP = 3, 3
GEMM_SECONDS = 0.03
PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm")
# Kernels -> what they are for.
KINDS = {
    "matrix products": PRODUCTS,
    "casts and copies": ("aten::copy_", "aten::cat", "aten::clone", "aten::contiguous"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "softmax": ("aten::_softmax", "aten::_softmax_backward_data"),
    "layer norm": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
    "sums and products of elements": ("aten::add", "aten::add_", "aten::mul", "aten::mul_", "aten::sum"),
    "AdamW, clipping, moving average": ("aten::_fused_adamw_", "aten::lerp_", "aten::linalg_vector_norm"),
}


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    result = Result("step_profile", "Where a training step's time goes, scale demo")
    for precision in ("bf16", "fp32"):
        _profile(result, precision)
    result.write()


def _profile(result: Result, precision: str) -> None:
    spec = read_scale("demo", ABLATIONS).pretrain
    tokenizer = vocabulary(captions(500), 600)
    batch = batch_of(spec.model, tokenizer, spec.batch_size)
    task = PretrainTask(Mamo(spec.model, tokenizer.vocab_size), spec, tokenizer, steps=RUN)
    step = product_step(task, batch, precision)
    for _ in range(WARM_UP):
        step()
    began = time.process_time()
    for _ in range(STEPS):
        step()
    seconds = (time.process_time() - began) / STEPS
    # Its own first steps take memory in which the system has to find pages.
    stages = schedule(wait=0, warmup=2 * WARM_UP, active=STEPS)
    with profile(activities=[ProfilerActivity.CPU], schedule=stages, record_shapes=True) as profiler:
        for number in range(2 * WARM_UP + STEPS):
            if number:
                profiler.step()
            step()
    # The profiler's own mark of a step has the time between operators, much of which is spent on noting them.
    events = [event for event in profiler.key_averages() if not event.key.startswith("ProfilerStep")]
    whole = sum(event.self_cpu_time_total for event in events)
    rest = 1.0
    for kind, kernels in KINDS.items():
        share = sum(event.self_cpu_time_total for event in events if event.key in kernels) / whole
        rest -= share
        result.row(f"Shares in {precision}", part=kind, percent=100 * share)
    result.row(f"Shares in {precision}", part="all other operators", percent=100 * rest)

    shapes = _shapes(profiler)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    alone = sum(count * _seconds(shape, dtype) for shape, count in shapes.items()) / STEPS
    flops = sum(count * 2.0 * b * m * k * n for (b, m, k, n), count in shapes.items()) / STEPS
    side = 1024
    peak = 2.0 * side**3 / _seconds((1, side, side, side), dtype)
    result.row(
        "Matrix products",
        precision=precision,
        **{
            "CPU seconds of a step": seconds,
            "of its products alone": alone,
            "share": alone / seconds,
            "GFLOP/s of the step": flops / seconds / 1e9,
            "of its products alone, GFLOP/s": flops / alone / 1e9,
            f"of a product of side {side}": peak / 1e9,
        },
    )


def _shapes(profiler: Any) -> Counter[tuple[int, int, int, int]]:
    """(batch, m, k, n) of every matrix product -> how often."""
    shapes: Counter[tuple[int, int, int, int]] = Counter()
    for event in profiler.events():
        if event.name in PRODUCTS:
            left, right = event.input_shapes[-2:] if event.name != "aten::addmm" else event.input_shapes[1:3]
            batch = left[0] if event.name == "aten::bmm" else 1
            shapes[batch, left[-2], left[-1], right[-1]] += 1
    return shapes


def _seconds(shape: tuple[int, int, int, int], dtype: torch.dtype) -> float:
    """CPU seconds of one product of a shape on data that lie in order, at best."""
    batch, m, k, n = shape
    left, right = torch.randn(batch, m, k).to(dtype), torch.randn(batch, k, n).to(dtype)
    product = torch.bmm
    if batch == 1:
        left, right, product = left[0], right[0], torch.mm
    product(left, right)
    best, spent = float("inf"), 0.0
    while (
        spent < GEMM_SECONDS
    ):  # the best, since this is a limit: a slow spell of the machine is no part of it
        began = time.process_time()
        product(left, right)
        took = time.process_time() - began
        best, spent = min(best, took), spent + took
    return best


if __name__ == "__main__":
    main()
