"""Pairs per CPU-second of one pre-training step with all five objectives, at the size of scale `demo`, on one thread.

python benchmarks/training_step.py
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import torch

from mamo.data.tokenizer import train_wordpiece
from mamo.model.mamo import Mamo
from mamo.specs.scale import read_scale
from mamo.tasks.pretrain import PretrainTask
from mamo.training.optimiser import make_optimiser

WARM_UP, COUNTED = 3, 20
WORDS = (
    "a small red cat to the left of one blue dog two green apples and some car on grass yellow bus".split()
)


def main() -> None:
    """Print one line for each precision."""
    torch.set_num_threads(1)
    spec = read_scale("demo", Path("ablations")).pretrain
    random.seed(0)
    texts = [" ".join(random.choices(WORDS, k=10)) for _ in range(spec.batch_size)]
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_wordpiece(texts, 300, Path(folder))
    ids, mask = tokenizer.encode(texts)
    image = torch.randn(spec.batch_size, 3, spec.model.image_size, spec.model.image_size)
    batch = {"image": image, "ids": ids, "mask": mask, "image_id": torch.arange(spec.batch_size), "seed": 0}
    for precision in ("bf16", "fp32"):
        task = PretrainTask(Mamo(spec.model, tokenizer.vocab_size), spec, tokenizer)
        optimiser = make_optimiser(task, spec.optimiser)
        began = 0.0
        for step in range(WARM_UP + COUNTED):
            if step == WARM_UP:
                began = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = task(batch | {"step": step})["loss"]
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
            optimiser.step()
            task.after_step()
        pairs = COUNTED * spec.batch_size / (time.process_time() - began)
        print(f"{precision}: {pairs:.0f} pairs per CPU-second ({texts[0].count(' ') + 3} tokens per text)")


if __name__ == "__main__":
    main()
