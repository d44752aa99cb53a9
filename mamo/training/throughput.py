"""Measure how fast pre-training steps run here: pairs a second, and the share of the hardware's peak."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mamo.cost.flops import pretraining_pair
from mamo.cost.hardware import peak_of
from mamo.data.batches.collate import Batch
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.pretrain import PretrainTask
from mamo.training.loop import LoopConfig, prepare_layers, train_step
from mamo.training.optimiser import make_optimiser

WARM_UP = 3  # first steps allocate memory and compile
GEMM = 1024  # side of the matrix product that measures a CPU's peak
GEMM_SECONDS = 1.0


@dataclass(frozen=True)
class Throughput:
    """Measurements of pre-training steps on one device.

    Attributes:
        device: its own name.
        pairs: pairs in a step.
        seconds: wall-clock time of a step.
        flops: operations of a pair, counted from the models' shapes; work that activation checkpointing or micro-batches do
            twice is not counted, so the share of the peak is that of useful work.
        peak: peak operations per second of the device; None if unknown.
        peak_source: where the peak comes from, or why there is none.
        shares: part of a step -> its share of the step's time.
        memory: peak memory in bytes; None if unknown.
    """

    device: str
    pairs: int
    seconds: float
    flops: float
    peak: float | None
    peak_source: str
    shares: dict[str, float]
    memory: int | None

    @property
    def pairs_per_second(self) -> float:
        """Pairs per second of this device."""
        return self.pairs / self.seconds

    @property
    def rate(self) -> float:
        """Operations per second."""
        return self.flops * self.pairs_per_second

    @property
    def share(self) -> float | None:
        """The share of the peak that is reached (model FLOPs utilisation)."""
        return self.rate / self.peak if self.peak else None


def measure_throughput(
    spec: PretrainSpec,
    tokenizer: Tokenizer,
    device: torch.device,
    pairs: int,
    steps: int,
    micro_batch: int | None = None,
    compiled: bool = False,
    activation_checkpointing: bool = False,
) -> Throughput:
    """Train a randomly initialised network on noise: everything that a step does on one device, except loading data.

    Args:
        spec: pre-training spec; its batch size is not used.
        pairs: pairs in a step on this device.
        steps: timed steps, after a few to warm up.

    Raises:
        ValueError: the pairs cannot be cut into ITM's groups.
    """
    torch.manual_seed(spec.seed)
    # Weights and pixels do not matter for the speed of dense products, so nothing is loaded.
    task = PretrainTask(Mamo(spec.model, tokenizer.vocab_size), spec, tokenizer).to(device).train()
    config = LoopConfig(
        total=WARM_UP + steps,
        warmup=1,
        optimiser=spec.optimiser,
        precision=spec.precision,
        micro_batch=micro_batch,
        compiled=compiled,
        activation_checkpointing=activation_checkpointing,
    )
    optimiser = make_optimiser(task, spec.optimiser)
    prepare_layers(task, config)
    batch = _noise(spec, tokenizer, pairs, device)
    parts = _Parts(device, optimiser, task)
    began = 0.0
    for number in range(WARM_UP + steps):
        if number == WARM_UP:
            parts.begin()  # waits for the device: the warm-up's kernels must not be timed
            began = time.perf_counter()
        train_step(
            task,
            task,
            optimiser,
            batch | {"step": number, "progress": number / config.total},
            number,
            config,
            device,
        )
    _wait(device)
    seconds = (time.perf_counter() - began) / steps
    words = batch["ids"].shape[1]
    # Masked words are counted, since their number decides the work of MLM and MRM.
    chosen = float(task.masks(batch["ids"], batch["mask"], spec.seed, 0)[1].chosen.sum()) / pairs
    flops = pretraining_pair(spec, tokenizer.vocab_size, words, chosen, pairs, pairs)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    peak, source = peak_for(device, name, spec.precision)
    return Throughput(
        device=name,
        pairs=pairs,
        seconds=seconds,
        flops=flops,
        peak=peak,
        peak_source=source,
        shares=parts.shares(seconds * steps),
        memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
    )


def _noise(spec: PretrainSpec, tokenizer: Tokenizer, pairs: int, device: torch.device) -> Batch:
    """Make pairs whose texts have the longest length that the spec allows."""
    words = spec.model.max_words
    ids = torch.randint(0, tokenizer.vocab_size, (pairs, words), generator=torch.Generator().manual_seed(0))
    special = torch.tensor(
        [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
    )
    # Special tokens are never masked; drawn by chance, they would lower the number of masked words.
    ids[torch.isin(ids, special)] = int(special.max()) + 1
    ids[:, 0], ids[:, -1] = tokenizer.cls_id, tokenizer.sep_id
    image = torch.randn(pairs, 3, spec.model.image_size, spec.model.image_size)
    batch = {
        "image": image,
        "ids": ids,
        "mask": torch.ones_like(ids),
        "image_id": torch.arange(pairs),
    }
    return {name: tensor.to(device) for name, tensor in batch.items()} | {"seed": spec.seed}


class _Parts:
    """Time the optimiser and the moving average within the steps, without synchronising the device."""

    def __init__(self, device: torch.device, optimiser: torch.optim.Optimizer, task: PretrainTask) -> None:
        self._device = device
        self._marks: dict[str, list[tuple[Any, Any]]] = {}
        optimiser.step = self._timed("AdamW", optimiser.step)  # type: ignore[method-assign]
        task.after_step = self._timed("moving average", task.after_step)  # type: ignore[method-assign]

    def begin(self) -> None:
        """Start timing; earlier steps do not count."""
        _wait(self._device)
        self._marks.clear()

    def _mark(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        # An event is recorded on the GPU's own stream: the host does not wait, so timing does not slow the step down.
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            first = self._mark()
            returned = call(*args, **kwargs)
            self._marks.setdefault(name, []).append((first, self._mark()))
            return returned

        return timed

    def shares(self, seconds: float) -> dict[str, float]:
        """Return shares of the total time; forward and backward get the rest, including gradient clipping."""

        def between(first: Any, last: Any) -> float:
            return first.elapsed_time(last) / 1000 if self._device.type == "cuda" else last - first

        shares = {
            name: sum(between(*marks) for marks in all_marks) / seconds
            for name, all_marks in self._marks.items()
        }
        return {"forward and backward": 1 - sum(shares.values()), **shares}


def peak_for(device: torch.device, name: str, precision: str) -> tuple[float | None, str]:
    """Return a GPU's peak from the table, or a CPU's from a large product timed here."""
    if device.type == "cpu":
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        threads = torch.get_num_threads()
        return gemm_rate(GEMM, GEMM, GEMM, dtype), (
            f"measured: {GEMM} x {GEMM} products in {precision} on {threads} thread{'s' * (threads > 1)}"
        )
    if precision != "bf16":
        return None, f"only peaks of bf16 are known, and this is {precision}"
    peak = peak_of(name)
    if peak is None:
        return None, f"no peak is known of '{name}': enter its maker's figure in mamo/cost/hardware.py"
    return peak, "dense bf16, from the maker's data sheet"


def gemm_rate(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Measure operations per second of a product of (rows, inner) and (inner, columns) on the CPU: the best of a second's."""
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    best, spent = float("inf"), 0.0
    while spent < GEMM_SECONDS:
        began = time.perf_counter()
        left @ right
        # The best of many: a busy machine only ever makes a product slower.
        took = time.perf_counter() - began
        best, spent = min(best, took), spent + took
    return 2.0 * rows * inner * columns / best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
