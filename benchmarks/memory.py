"""Memory and start-up time of a training process as its data grow from a thousand pairs to a million.

python -m benchmarks memory
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Result

PAIRS = (1_000, 10_000, 100_000, 1_000_000)
STEPS = 6
ABLATIONS = Path(__file__).parents[1] / "ablations"


def main() -> None:
    """Measure each size in a process of its own, and write."""
    from benchmarks.data import prepare

    result = Result("memory", "Growing data")
    first: dict[str, Any] = {}
    for pairs in PAIRS:
        with tempfile.TemporaryDirectory() as folder:
            data = prepare(Path(folder) / "set", pairs, (96, 96), 96)
            index = (data / "records" / "train.arrow").stat().st_size
            measured = json.loads(
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.memory", str(data)],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.splitlines()[-1]
            )
        first = first or measured
        result.row(
            "Growing data",
            pairs=pairs,
            **{
                "index, MB": index / 1e6,
                "start-up, CPU s": measured["startup"],
                "own memory, MB": measured["own"],
                "to the first": measured["own"] / first["own"],
                "mapped files, MB": measured["mapped"],
            },
        )
    result.note(
        f"A process of scale demo after {STEPS} steps. Start-up: from opening the data to the first batch. Own memory is "
        "anonymous memory (RssAnon); mapped files (RssFile) are libraries, and pages of the index that the system takes back "
        "when it needs them."
    )
    result.write()


def child(folder: Path) -> None:
    """Train a few steps on a prepared data set and print what it took."""
    import torch

    from benchmarks.batches import captions, vocabulary
    from benchmarks.training_step import RUN
    from mamo.data.batches.collate import CaptionCollate
    from mamo.data.batches.loader import TrainLoader
    from mamo.data.batches.transforms import TrainTransform
    from mamo.data.store.concat import ConcatRecords
    from mamo.data.store.records import Prepared
    from mamo.model.mamo import Mamo
    from mamo.specs.scale import read_scale
    from mamo.tasks.pretrain import PretrainTask
    from mamo.training.loop import LoopConfig, train

    torch.set_num_threads(1)
    spec = read_scale("demo", ABLATIONS).pretrain
    tokenizer = vocabulary(captions(500))
    task = PretrainTask(Mamo(spec.model, tokenizer.vocab_size), spec, tokenizer, steps=RUN)
    collate = CaptionCollate(TrainTransform(spec.transform), tokenizer, spec.model.max_words)

    began = time.process_time()
    source = ConcatRecords([Prepared(folder)])
    loader = TrainLoader(source, collate, batch_size=spec.batch_size, seed=0, end=STEPS)
    next(iter(loader))
    startup = time.process_time() - began
    batches = (batch | {"seed": 0, "step": step, "progress": 0.0} for step, batch in enumerate(loader))
    train(
        task, lambda start: batches, LoopConfig(STEPS, 1, spec.optimiser, spec.precision), torch.device("cpu")
    )
    own, mapped = (_status(name) for name in ("RssAnon", "RssFile"))
    print(json.dumps({"startup": startup, "own": own, "mapped": mapped}))


def _status(name: str) -> float:
    """A line of /proc/self/status, in MB."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"/proc/self/status has no {name}: this needs Linux")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child(Path(sys.argv[1]))
    else:
        main()
