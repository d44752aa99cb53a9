"""Measure what reading pairs costs one core (JPEG, crop, RandAugment, words), against what a training step takes in.

python -m benchmarks data
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from benchmarks.batches import captions, vocabulary
from benchmarks.measure import RESULTS, Result
from mamo.cost.flops import pretraining_pair
from mamo.cost.parameters import BERT_VOCABULARY
from mamo.cost.runs import GPUS
from mamo.data.batches.collate import CaptionCollate
from mamo.data.batches.loader import TrainLoader
from mamo.data.batches.transforms import TrainTransform
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import Prepared
from mamo.data.store.writer import Writer
from mamo.specs.scale import read_scale

ABLATIONS = Path(__file__).parents[1] / "ablations"
IMAGES = 48
ROUNDS, BATCH = 8, 64
SIZES = {
    "paper": (640, 480),
    "demo": (96, 96),
}  # of photographs in releases, and of the world's scenes as stored
MFU = 0.45


def photograph(seed: int, width: int, height: int) -> bytes:
    """A JPEG with large soft forms and fine grain, about as many bytes as a photograph's."""
    draws = np.random.default_rng(seed)
    forms = Image.fromarray(draws.integers(0, 255, (height // 16, width // 16, 3), dtype=np.uint8))
    soft = np.asarray(forms.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    grained = (soft + draws.integers(-6, 7, (height, width, 3))).clip(0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grained).save(out, "JPEG", quality=90)
    return out.getvalue()


def prepare(folder: Path, pairs: int, size: tuple[int, int], store_size: int, images: int = IMAGES) -> Path:
    """A prepared data set of few images and many captions."""
    texts = captions(1000)
    with Writer(folder, dataset="coco", kind="captions", store_size=store_size) as writer:
        for number in range(images):
            writer.add_image(str(number), photograph(number, *size))
        for number in range(pairs):
            writer.add_record("train", image=number % images, text=texts[number % len(texts)])
    return folder


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    result = Result("data", "Reading pairs")
    for name, size in SIZES.items():
        scale = read_scale(name, ABLATIONS)
        spec = scale.pretrain
        tokenizer = vocabulary(captions(500))
        with tempfile.TemporaryDirectory() as folder:
            data = Prepared(prepare(Path(folder) / "set", 4096, size, scale.data.datasets["coco"].store_size))
            collate = CaptionCollate(TrainTransform(spec.transform), tokenizer, spec.model.max_words)
            loader = TrainLoader(
                ConcatRecords([data]), collate, batch_size=BATCH, seed=0, end=ROUNDS + 1, workers=0
            )
            seconds: list[float] = []
            stored = len(data.images.jpeg(0))
            batches = iter(loader)
            for number in range(ROUNDS + 1):
                began = time.process_time()
                next(batches)
                if number:
                    seconds.append(time.process_time() - began)
        rate = BATCH / statistics.median(seconds)
        need, words = _need(name)
        cells: dict[str, Any] = {"scale": name, "stored image": f"{stored / 1000:.0f} kB"}
        cells |= {"pairs per core-second": rate, "a step takes in, pairs a second": need}
        cells |= {"cores of reading": need / rate if need else float("nan"), "for": words}
        result.row("Reading", **cells)
    result.note(
        f"{ROUNDS} batches of {BATCH}, one process. Images are drawn, with the size and about the bytes of real ones."
    )
    result.write()


def _need(scale: str) -> tuple[float, str]:
    if scale == "demo":
        path = RESULTS / "training_step.json"
        rows = json.loads(path.read_text(encoding="utf-8"))["tables"]["Pairs per CPU-second"]
        return next(row["bf16"] for row in rows if row["step"] == "product"), "one core that trains"
    spec = read_scale(scale, ABLATIONS).pretrain
    pair = pretraining_pair(spec, BERT_VOCABULARY, spec.model.max_words, 3.0, spec.batch_size, 96)
    return GPUS["h100"][0] * MFU / pair, f"one H100 at {MFU:.0%} of its peak (assumed)"


if __name__ == "__main__":
    main()
