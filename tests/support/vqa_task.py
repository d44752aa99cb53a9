"""A tiny task of visual question answering, and a batch for it."""

from __future__ import annotations

from typing import Any

import tiny
import torch

from mamo.data.batches.transforms import EvalTransform
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.specs.finetune import VqaSpec
from mamo.tasks.vqa import VqaTask

ANSWERS = ["yes", "no", "red", "red car", "red cart", "carton", "traffic light", "left of the car", "dog"]
MODEL = tiny.model_spec(patch_size=16, vision_layers=1, text_layers=1, fusion_layers=2, max_words=12)
SPEC = VqaSpec(data=("vqa2",), eval_batch_size=2, decoder_layers=3, **tiny.JOB)


def make_task(tokenizer: Tokenizer, answers: list[str] | None = None, **changes: object) -> VqaTask:
    torch.manual_seed(0)
    network = Mamo(MODEL, tokenizer.vocab_size)
    spec = SPEC.model_copy(update=changes)
    return VqaTask(network, spec, tokenizer, EvalTransform(spec.transform), answers or ANSWERS).eval()


def sharpen(task: VqaTask) -> VqaTask:
    """Larger weights, so that scores of an untrained network differ clearly."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return task


def make_batch(tokenizer: Tokenizer, answers: list[list[str]], weights: list[list[float]]) -> dict[str, Any]:
    ids, mask = tokenizer.encode(["is the car red", "what is left of the dog", "what"][: len(answers)])
    image = torch.randn(len(answers), 3, 32, 32, generator=torch.Generator().manual_seed(4))
    return {
        "image": image,
        "ids": ids,
        "mask": mask,
        "answers": answers,
        "weights": weights,
        "step": 0,
        "seed": 0,
    }
