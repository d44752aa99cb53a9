"""One rank of a two-process run: the pre-training losses and gradients of its half of the batch, as DDP averages them, in one
piece and in micro-batches; and a run that a signal to one rank interrupts."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
from PIL import Image
from torch.nn.parallel import DistributedDataParallel

from mamo.data.batches.collate import CaptionCollate
from mamo.data.batches.transforms import TrainTransform
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import Prepared
from mamo.data.store.writer import Writer
from mamo.data.tokenizer import Tokenizer
from mamo.model.distributed import rank, world_size
from mamo.runs.training import training_batches
from mamo.specs.optimisation import OptimiserSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.gallery import Gallery
from mamo.tasks.pretrain import PretrainTask
from mamo.tasks.retrieval import match
from mamo.training.checkpoints import Checkpoints
from mamo.training.distributed import average_gradients, process_group, wrap
from mamo.training.interruption import Interrupted
from mamo.training.loop import LoopConfig, train

STEPS, ASKED_AT = 6, 3
ALBEF: dict[str, Any] = {"mim": None, "mrm": None, "distillation": {"queue": 16, "alpha": 0.4}}


def share_of(words: Tokenizer, step: int = 0) -> dict[str, Any]:
    """This rank's slice of the shared batch of a step."""
    share = 8 // world_size()
    mine = slice(rank() * share, (rank() + 1) * share)
    return {k: v[mine] if isinstance(v, torch.Tensor) else v for k, v in tiny.batch(words, step).items()}


def losses_and_gradients(
    words: Tokenizer, micro: int | None = None, **objectives: Any
) -> dict[str, torch.Tensor]:
    """Run one step on this rank's slice of the shared batch; returns the averaged parts and all gradients."""
    batch = share_of(words, step=1)
    spec = tiny.pretrain_spec(objectives={"itm_group": 4} | objectives)
    task = PretrainTask(tiny.network(words, seed=1), spec, words).train()
    if task.queue is not None:
        task(share_of(words))  # fills the queue
    if micro:
        out = task.accumulate(batch, micro, nullcontext)
        average_gradients(list(task.parameters()))
    else:
        model = wrap(task)
        if isinstance(model, DistributedDataParallel):  # the target network is none of DDP's business
            reduced, _ = model._build_params_for_reducer()
            assert len(reduced) == len([p for p in task.parameters() if p.requires_grad])
        out = model(batch)
        out["loss"].backward()
    parts = {
        name: value.detach().clone()
        for name, value in out.items()
        if not name.startswith(("spread", "error"))
    }
    if world_size() > 1:
        for value in parts.values():
            torch.distributed.all_reduce(value)
            value /= world_size()
    gradients = {n: p.grad for n, p in task.named_parameters() if p.grad is not None}
    return parts | gradients


def pair_scores(words: Tokenizer) -> torch.Tensor:
    """ITM's scores of every image and text of a batch, in batches of 5, which ranks share."""
    network, batch = tiny.network(words, seed=1).eval(), tiny.batch(words)
    with torch.no_grad():
        visual, text = network.encode_image(batch["image"]), network.encode_text(batch["ids"], batch["mask"])
        projected = network.project_image(visual), network.project_text(text)
        gallery = Gallery(*projected, torch.arange(8), visual, text, batch["mask"])
        pairs = torch.cartesian_prod(torch.arange(8), torch.arange(8)).T
        return match(network, gallery, pairs, 5)


def trained(words: Tokenizer, folder: Path, interrupted: bool = False) -> dict[str, torch.Tensor]:
    """A short run with dropout; if ``interrupted``, the last rank alone is asked to stop on the way, and the run resumed."""
    checkpoints = Checkpoints(folder)

    def once(signalled: bool) -> tuple[PretrainTask, list[dict[str, float]]]:
        torch.manual_seed(5)
        spec = tiny.pretrain_spec(model=tiny.model_spec(dropout=0.2))
        task = PretrainTask(tiny.network(words, seed=5, dropout=0.2), spec, words)
        torch.manual_seed(5)

        def batches(start: int) -> Iterator[dict[str, Any]]:
            for step in range(start, STEPS):
                if signalled and step == ASKED_AT and rank() == world_size() - 1:
                    os.kill(os.getpid(), signal.SIGUSR1)
                yield share_of(words, step)

        config = LoopConfig(
            total=STEPS, warmup=1, optimiser=OptimiserSpec(lr=1e-3), precision="fp32", checkpoints=checkpoints
        )
        return task, train(task, batches, config, torch.device("cpu")).curve

    if interrupted:
        try:
            once(signalled=True)
        except Interrupted as stopped:
            assert stopped.code == 75
        else:
            raise AssertionError("the run was not interrupted")
        torch.manual_seed(99)  # what came before must not matter
    task, curve = once(signalled=False)
    return task.state_dict() | {f"loss/{row['step']}": torch.tensor(row["loss"]) for row in curve}


def write_photos(folder: Path) -> None:
    """A prepared data set of 12 photographs of noise, with two captions each."""
    texts = [tiny.TEXTS[i % len(tiny.TEXTS)] for i in range(24)]
    with Writer(folder, dataset="noise", kind="captions", store_size=32) as writer:
        for i in range(12):
            pixels = np.random.default_rng(i).integers(0, 255, (32, 40, 3), dtype=np.uint8)
            out = io.BytesIO()
            Image.fromarray(pixels).save(out, "JPEG")
            writer.add_image(str(i), out.getvalue())
            for text in texts[2 * i : 2 * i + 2]:
                writer.add_record("train", image=i, text=text)


def from_photos(words: Tokenizer, folder: Path) -> dict[str, torch.Tensor]:
    """Return which images each step saw, in the order of the global batch, and its losses; two epochs, without dropout."""
    torch.manual_seed(5)
    task = PretrainTask(tiny.network(words, seed=5), tiny.pretrain_spec(), words)
    source = ConcatRecords([Prepared(folder)], "train")
    collate = CaptionCollate(TrainTransform(TransformSpec(size=32)), words, 16)
    seen: dict[str, torch.Tensor] = {}

    def batches(start: int) -> Iterator[dict[str, Any]]:
        for step, batch in enumerate(training_batches(source, collate, 8, 3, 1, start, STEPS), start):
            shares: list[Any] = [batch["image_id"]]
            if world_size() > 1:
                shares = [None] * world_size()
                torch.distributed.all_gather_object(shares, batch["image_id"])
            seen[f"images/{step}"] = torch.cat(shares)
            yield batch

    config = LoopConfig(total=STEPS, warmup=1, optimiser=OptimiserSpec(lr=1e-3), precision="fp32")
    curve = train(task, batches, config, torch.device("cpu")).curve
    return seen | {f"{name}/{row['step']}": torch.tensor(row[name]) for row in curve for name in row}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    with process_group():
        words = Tokenizer.load(folder / "words")
        result = {
            "whole": losses_and_gradients(words),
            "micro": losses_and_gradients(words, micro=3),
            "queue": losses_and_gradients(words, **ALBEF),
            "scores": pair_scores(words),
            "photos": from_photos(words, folder / "photos"),
            "straight": trained(words, folder / "straight"),
            "resumed": trained(words, folder / "interrupted", interrupted=True),
        }
        if rank() == 0:
            torch.save(result, folder / "result.pt")
