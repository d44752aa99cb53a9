"""A tiny task of NLVR2, and a batch for it."""

from __future__ import annotations

from typing import Any

import tiny
import torch

from mamo.data.batches.transforms import EvalTransform
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.specs.finetune import Nlvr2Spec
from mamo.tasks.nlvr2 import Nlvr2Task

TEXTS = ["both images are red", "the left image is red", "one image is blue", "no image is blue"]
MODEL = tiny.model_spec(patch_size=16, vision_layers=1, text_layers=1, fusion_layers=1, max_words=12)
SPEC = Nlvr2Spec(data=("nlvr2",), eval_batch_size=3, **tiny.JOB)


def make_task(tokenizer: Tokenizer, seed: int = 0) -> Nlvr2Task:
    torch.manual_seed(seed)
    task = Nlvr2Task(Mamo(MODEL, tokenizer.vocab_size), SPEC, tokenizer, EvalTransform(SPEC.transform)).eval()
    with torch.no_grad():  # larger weights, so that an untrained network's judgements differ
        for parameter in task.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return task


def make_batch(tokenizer: Tokenizer, texts: list[str]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(1)
    ids, mask = tokenizer.encode(texts)
    images = torch.randn(2, len(texts), 3, 32, 32, generator=generator)
    label = torch.arange(len(texts)) % 2
    return {
        "image": images[0],
        "image2": images[1],
        "ids": ids,
        "mask": mask,
        "label": label,
        "step": 0,
        "seed": 0,
    }
