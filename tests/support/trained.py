"""Tiny trained models as the workbench leaves them, for tests of what is done with them afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny
import torch
import vqa_task
from PIL import Image

from mamo.data.batches.transforms import EvalTransform
from mamo.data.releases import candidates
from mamo.model.mamo import Mamo
from mamo.runs.save import save_network_config, save_tensors
from mamo.specs.identity import Run
from mamo.specs.plan import Plan
from mamo.tasks.nlvr2 import Nlvr2Task
from mamo.tasks.pretrain import PretrainTask

ANSWERS = ["dog", "cat", "bus"]


def finish(run: Run, results: Path, **more: Any) -> Path:
    """A run's record."""
    directory = run.directory(results)
    directory.mkdir(parents=True, exist_ok=True)
    record = {"run": run.id, "kind": run.kind, "scale": results.name, "spec": dict(run.spec), "inputs": dict(run.inputs),
              "revision": 1, "outcome": {"status": "converged", "reason": ""}, "metrics": {}} | more  # fmt: skip
    run.record(results).write_text(json.dumps(record))
    return directory


def finish_inputs(plan: Plan, run: Run, results: Path) -> None:
    """The records of all that a run reads."""
    for key in sorted(plan.closure([run.key]) - {run.key}):
        if not plan.runs[key].record(results).is_file():
            finish(plan.runs[key], results)


def pretraining(plan: Plan, results: Path) -> tuple[Run, PretrainTask]:
    """A pre-training of a tiny network, with its target network and objectives."""
    run = plan.find("pretrain", "mamo")
    words = tiny.tokenizer(finish(plan.runs[run.inputs["text"]], results))
    torch.manual_seed(3)
    task = PretrainTask(tiny.network(words, seed=3), tiny.pretrain_spec(), words).eval()
    spec = {**run.spec, "transform": {**run.spec["transform"], "size": 32}}
    directory = finish(run, results, metrics={"train/loss": 1.0}, spec=spec)
    save_tensors(task.state_dict(), directory / "model.safetensors")
    save_network_config(task.network, directory)
    return run, task


def answering(plan: Plan, results: Path) -> Run:
    """A fine-tuning for VQA with three candidate answers."""
    run = plan.find("finetune", "vqa-mamo")
    words = tiny.tokenizer(finish(plan.runs[run.inputs["text"]], results))
    torch.manual_seed(5)
    network, transform = Mamo(vqa_task.MODEL, words.vocab_size), EvalTransform(vqa_task.SPEC.transform)
    task = vqa_task.sharpen(vqa_task.VqaTask(network, vqa_task.SPEC, words, transform, ANSWERS)).eval()
    spec = vqa_task.SPEC.model_copy(update={"min_answer_count": 2}).model_dump(mode="json")
    directory = finish(run, results, metrics={"accuracy": 41.25, "chance/accuracy": 30.0}, spec=spec)
    save_tensors(task.state_dict(), directory / "model.safetensors")
    save_network_config(task.network, directory)
    data = finish(plan.runs[run.inputs["data:vqa2"]], results)
    candidates.write(data, {"dog": 9, "cat": 5, "bus": 3, "rare": 1}, 2)
    return run


def judging(plan: Plan, results: Path) -> Run:
    """A fine-tuning for NLVR2."""
    run = plan.find("finetune", "nlvr2-mamo")
    words = tiny.tokenizer(finish(plan.runs[run.inputs["text"]], results))
    network = tiny.network(words, seed=7)
    spec = plan.scale.jobs["nlvr2"]
    task = Nlvr2Task(network, spec, words, EvalTransform(spec.transform)).eval()  # type: ignore[arg-type]
    directory = finish(run, results, metrics={"test_accuracy": 60.0})
    save_tensors(task.state_dict(), directory / "model.safetensors")
    save_network_config(network, directory)
    return run


def photo(folder: Path, name: str, shade: int, turned: bool = False) -> Path:
    """An image whose left half has a shade of grey; turned by its EXIF, if wanted."""
    pixels = np.zeros((24, 48, 3), np.uint8)
    pixels[:, :24] = shade
    exif = Image.Exif()
    if turned:
        exif[0x0112] = 3
    Image.fromarray(pixels).save(folder / name, quality=95, exif=exif)
    return folder / name


def noise(folder: Path, count: int) -> list[Path]:
    """Images of 56 x 40 pixels with random fields of 8, each another."""
    files = []
    for i in range(count):
        pixels = (
            np.random.default_rng(i).integers(0, 256, (5, 7, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        )
        Image.fromarray(pixels).save(folder / f"noise{i}.png")
        files.append(folder / f"noise{i}.png")
    return files
