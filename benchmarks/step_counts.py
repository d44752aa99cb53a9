"""Count what a training step of the paper's size asks of a GPU: kernels, operations, bytes; derive the share of the peak.

Two small steps run here at full size, in bf16 and with fused attention as on a GPU, and every operation that touches memory is
counted on its way: its multiplications, and the bytes that it reads and writes. Both steps have the same operations in the
same order, so each grows along a line from one batch to the other, which is followed to the batch of a GPU. Each operation
then takes as long as its operations or its bytes need, whichever is more, on the hardware named.

python -m benchmarks step_counts
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.batches import captions, vocabulary
from benchmarks.measure import Result
from mamo.cost.hardware import peak_of
from mamo.model.mamo import Mamo
from mamo.model.transformer import Attention
from mamo.specs.scale import read_scale
from mamo.tasks.pretrain import PretrainTask
from mamo.training.loop import LoopConfig, train_step
from mamo.training.optimiser import make_optimiser

ABLATIONS = Path(__file__).parents[1] / "ablations"
MEASURED = (2, 4)  # pairs of the steps that run here
PAIRS = 96  # of one GPU of the paper's sixteen
GPU, BANDWIDTH = "NVIDIA H100 80GB HBM3", 3.35e12  # bytes a second, from the maker's data sheet
# What large products and plain kernels reach of the two peaks: assumptions, and the only ones.
OF_PEAK, OF_BANDWIDTH = 0.7, 0.8
LAUNCH = 8e-6  # seconds of the host for an operation, with PyTorch's own work around it: an assumption too
KINDS = {
    "matrix products": ("mm", "addmm", "bmm"),
    "attention": ("_scaled_dot_product", "_flash"),
    "AdamW, clipping, moving average": ("_fused_adamw", "_foreach"),
    "casts and copies": ("_to_copy", "copy_", "clone", "cat"),
    "GELU": ("gelu",),
    "dropout": ("native_dropout",),
    "layer norm": ("native_layer_norm",),
}


@dataclass
class Operation:
    """One operation that touches memory."""

    name: str
    flops: float
    bytes: float


class Counting(TorchDispatchMode):
    """Notes every operation but views."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operation, and note it."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        read = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        written = [x for x in tree_leaves(out) if isinstance(x, Tensor)]
        places = {x.untyped_storage().data_ptr() for x in read}
        is_view = written and all(x.untyped_storage().data_ptr() in places for x in written)
        name = func._schema.name.removeprefix("aten::")
        if name.endswith("_") or not is_view:
            if name.endswith("_"):  # in place: what it reads first it also writes
                written = [x for x in tree_leaves(args[:1]) if isinstance(x, Tensor)]
            count = flop_registry.get(func._overloadpacket)
            if "scaled_dot_product" in name:  # torch counts the kernels of GPUs only
                flops = attention_flops(args, backward="backward" in name)
            else:
                flops = float(count(*args, **kwargs, out_val=out)) if count else 0.0
            self.found.append(Operation(name, flops, float(sum(x.nbytes for x in read + written))))
        return out


def attention_flops(args: Any, backward: bool) -> float:
    """Two products of a fused attention forwards, four backwards (what it computes once more does not count)."""
    query, key = args[1:3] if backward else args[:2]
    return (8.0 if backward else 4.0) * query.numel() * key.shape[-2]


def operations(pairs: int) -> list[Operation]:
    """Count the operations of one whole step of scale paper."""
    spec = read_scale("paper", ABLATIONS).pretrain
    objectives = spec.objectives.model_copy(update={"itm_group": pairs})
    spec = spec.model_copy(update={"objectives": objectives, "batch_size": pairs})
    tokenizer = vocabulary(captions(500))
    torch.manual_seed(0)
    task = PretrainTask(Mamo(spec.model, 30_522), spec, tokenizer).train()
    for module in task.modules():
        if isinstance(module, Attention):  # as on a GPU, whose fused attention drops out by itself
            module._fuses = lambda x: True  # type: ignore[method-assign]
            module.dropout = 0.0
        if isinstance(module, torch.nn.Dropout):  # one kernel, as on a GPU
            module.forward = lambda x, p=module.p: torch.native_dropout(x, p, True)[0]  # type: ignore[method-assign]
    config = LoopConfig(total=2, warmup=1, optimiser=spec.optimiser, precision="bf16")
    optimiser = make_optimiser(task, spec.optimiser)
    words = spec.model.max_words
    ids = torch.full((pairs, words), 100)
    ids[:, 0], ids[:, -1] = tokenizer.cls_id, tokenizer.sep_id
    image = torch.randn(pairs, 3, spec.model.image_size, spec.model.image_size)
    batch = {"image": image, "ids": ids, "mask": torch.ones_like(ids), "image_id": torch.arange(pairs)}
    batch |= {"seed": 0, "step": 0, "progress": 0.0}
    for parameter in task.parameters():  # the optimiser's state exists before the step that counts
        if parameter.requires_grad:
            state = {"step": torch.zeros(()), "exp_avg": torch.zeros_like(parameter)}
            optimiser.state[parameter] = state | {"exp_avg_sq": torch.zeros_like(parameter)}
    with Counting() as counting:
        train_step(task, task, optimiser, batch, 0, config, torch.device("cpu"))
    return counting.found


def grown(small: list[Operation], large: list[Operation], pairs: int) -> Iterator[Operation]:
    """Each operation along its line to ``pairs``.

    Raises:
        RuntimeError: the steps differ in their operations.
    """
    if [one.name for one in small] != [one.name for one in large]:
        raise RuntimeError("the two steps have different operations: they cannot be compared one by one")
    first, second = MEASURED
    far = (pairs - first) / (second - first)
    for one, other in zip(small, large, strict=True):
        flops = one.flops + far * (other.flops - one.flops)
        yield Operation(one.name, flops, one.bytes + far * (other.bytes - one.bytes))


def main() -> None:
    """Count and write."""
    torch.set_num_threads(1)
    result = Result("step_counts", "A training step of the paper's size on an H100, by counting")
    small, large = (operations(pairs) for pairs in MEASURED)
    peak = peak_of(GPU)
    assert peak is not None

    def seconds(one: Operation) -> float:
        return max(one.flops / (OF_PEAK * peak), one.bytes / (OF_BANDWIDTH * BANDWIDTH))

    whole = list(grown(small, large, PAIRS))
    total = sum(map(seconds, whole))
    left = {id(one): one for one in whole}
    rows = {}
    for kind, names in KINDS.items():
        rows[kind] = [one for one in left.values() if one.name.startswith(names)]
        left = {key: one for key, one in left.items() if not one.name.startswith(names)}
    rows["all else"] = list(left.values())
    rows["a step"] = whole
    for kind, group in rows.items():
        taken = sum(map(seconds, group))
        result.row(
            f"A step of {PAIRS} pairs",
            part=kind,
            operations=len(group),
            TFLOP=sum(one.flops for one in group) / 1e12,
            **{
                "GB moved": sum(one.bytes for one in group) / 1e9,
                "ms": 1000 * taken,
                "percent": 100 * taken / total,
            },
        )
    for pairs in (8, 16, 32, PAIRS, 192):
        group = list(grown(small, large, pairs))
        taken, flops = sum(map(seconds, group)), sum(one.flops for one in group)
        host = LAUNCH * len(group)
        products = sum(
            seconds(one)
            for one in group
            if one.name.startswith(KINDS["matrix products"] + KINDS["attention"])
        )
        result.row(
            "Expected of one H100",
            pairs=pairs,
            **{
                "ms on the GPU": 1000 * taken,
                "ms of the host": 1000 * host,
                "pairs a second": pairs / max(taken, host),
                "MFU, percent": 100 * flops / peak / max(taken, host),
                "with nothing but products and attention": 100 * flops / peak / products,
            },
        )
    result.write()


if __name__ == "__main__":
    main()
