"""Estimate the cost of each run of a plan: operations of training and evaluation, disk, hours on given hardware."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import TypeAdapter

from mamo.cost import parameters
from mamo.cost.flops import Network, pretraining_pair
from mamo.cost.sizes import PUBLISHED, Sizes, is_prepared, sizes_of
from mamo.jobs.registry import job_of
from mamo.specs.finetune import FinetuneSpec, JobSpec
from mamo.specs.identity import Run
from mamo.specs.model import ModelSpec
from mamo.specs.plan import Plan
from mamo.specs.pretrain import PretrainSpec

# Peak of dense bf16 matrix products as published by the maker, operations per second; GB of memory.
GPUS = {
    "a100": (312e12, 80),
    "h100": (989e12, 80),
    "h200": (989e12, 141),
    "b200": (2_250e12, 180),
    "l40s": (362e12, 48),
    "rtx4090": (165e12, 24),
}
# Sub-words of a caption without [CLS] and [SEP] (rough); only the masked quarter of them reaches the vocabulary.
CAPTION = 12.0
PREPARED_PER_SECOND = (
    45.0  # images that one core decodes, shrinks and encodes: 640 x 480 to 384, one core of a server
)
AUGMENTED_PER_SECOND = {224: 115.0, 384: 58.0}  # images that one core decodes and augments, likewise
FLOAT = 4


@dataclass(frozen=True)
class Cost:
    """One run's cost.

    Attributes:
        training: operations of all steps.
        evaluation: operations of validations and of the test.
        shared: whether the ranks of a run share the evaluation; else each does it alone.
        steps: optimiser steps.
        examples: pairs (questions, statements) of all steps.
        cores: core-hours of preparation.
        kept: bytes that stay on disk.
        passing: additional bytes while the run is being made (checkpoints, parts).
    """

    training: float = 0.0
    evaluation: float = 0.0
    shared: bool = False
    steps: int = 0
    examples: int = 0
    cores: float = 0.0
    kept: float = 0.0
    passing: float = 0.0

    @property
    def flops(self) -> float:
        """All operations."""
        return self.training + self.evaluation


@dataclass(frozen=True)
class Hardware:
    """Hardware that runs are executed on.

    Attributes:
        gpu: a name of ``GPUS``.
        gpus: number of GPUs of one training run.
        mfu: share of the peak that is reached.
        cores: number of cores that prepare data at the same time.
    """

    gpu: str = "a100"
    gpus: int = 16
    mfu: float = 0.45
    cores: int = 64

    @property
    def rate(self) -> float:
        """Operations per second of one GPU."""
        return GPUS[self.gpu][0] * self.mfu

    def hours(self, cost: Cost) -> float:
        """Return the wall-clock hours of the run."""
        seconds = cost.training / (self.rate * self.gpus)
        seconds += cost.evaluation / (self.rate * (self.gpus if cost.shared else 1))
        return seconds / 3600 + cost.cores / self.cores

    def gpu_hours(self, cost: Cost) -> float:
        """Return the GPU-hours: GPUs times the hours in which they compute."""
        return cost.flops / self.rate / 3600


class Costs:
    """The costs of a plan's runs, by their keys."""

    def __init__(self, plan: Plan, results: Path) -> None:
        self._plan, self._results = plan, results
        text = plan.scale.weights.text
        self.vocab_size = text.vocab_size if text.source == "mlm" else parameters.BERT_VOCABULARY

    @cached_property
    def runs(self) -> Mapping[str, Cost]:
        """Run key -> cost."""
        makers = {
            "data": self._data,
            "weights": self._weights,
            "pretrain": self._pretrain,
            "finetune": self._finetune,
        }
        return {key: makers[run.kind](run) for key, run in self._plan.runs.items()}

    def sizes(self, run: Run) -> list[Sizes]:
        """Return the sizes of a run's data sets, in the order of its spec."""
        return [sizes_of(self._plan.runs[run.inputs[f"data:{n}"]], self._results) for n in run.spec["data"]]

    @property
    def unprepared(self) -> list[str]:
        """Data sets whose sizes are not read from prepared data."""
        runs = [run for run in self._plan.by_kind("data") if "dataset" in run.spec]
        return [run.spec["dataset"] for run in runs if not is_prepared(run, self._results)]

    @property
    def unknown(self) -> list[str]:
        """Data sets whose sizes are unknown until they are prepared: generated ones, and those without published sizes."""
        published = PUBLISHED if self._plan.scale.data.source == "release" else ()
        return [name for name in self.unprepared if name not in published]

    def total(self, keys: Iterable[str]) -> Cost:
        """Sum some runs' costs; the additional bytes are the most that any one of them needs."""
        costs = [self.runs[key] for key in keys]
        sums = {name: sum(getattr(cost, name) for cost in costs) for name in Cost.__dataclass_fields__}
        return Cost(**sums | {"shared": False, "passing": max((cost.passing for cost in costs), default=0.0)})

    def critical_path(self, hardware: Hardware) -> tuple[float, list[str]]:
        """Find the chain of runs, each needing the one before, that takes longest, and its hours."""
        best: dict[str, tuple[float, list[str]]] = {}
        for key, run in self._plan.runs.items():  # a plan lists a run after its inputs
            before = max((best[other] for other in run.inputs.values()), default=(0.0, []))
            best[key] = (before[0] + hardware.hours(self.runs[key]), [*before[1], key])
        return max(best.values(), default=(0.0, []))

    def _data(self, run: Run) -> Cost:
        if "dataset" not in run.spec:
            return Cost()
        sizes = sizes_of(run, self._results)
        from mamo.data.datasets import part_count

        passing = sizes.bytes if part_count(run.spec) > 1 else 0
        return Cost(cores=sizes.images / PREPARED_PER_SECOND / 3600, kept=sizes.bytes, passing=passing)

    def _weights(self, run: Run) -> Cost:
        spec = self._plan.scale.pretrain.model
        if run.spec["role"] == "vision":
            count = parameters.network(spec, self.vocab_size) - parameters.embedding(spec, self.vocab_size)
            count -= (spec.text_layers + spec.fusion_layers) * parameters.layer(spec)
        elif run.spec["role"] == "text":
            count = parameters.embedding(spec, self.vocab_size)
            count += (spec.text_layers + spec.fusion_layers) * parameters.layer(spec)
        else:
            count = 53_800_000  # DALL-E's encoder as published in transformers
        return Cost(kept=FLOAT * count)

    def _pretrain(self, run: Run) -> Cost:
        spec = PretrainSpec.model_validate(run.spec)
        pairs = sum(sizes.records["train"] for sizes in self.sizes(run))
        steps = spec.schedule.total_steps(pairs, spec.batch_size)
        chosen = max(1.0, CAPTION * spec.masking.text_ratio)
        group = spec.batch_size  # at most; the draw of negatives is a small part whatever it is
        words = spec.model.max_words
        most = max(1.0, (words - 2) * spec.masking.text_ratio)
        pair = pretraining_pair(spec, self.vocab_size, words, chosen, spec.batch_size, group, most)
        trained, target = parameters.pretraining(spec, self.vocab_size)
        return Cost(
            training=pair * steps * spec.batch_size,
            steps=steps,
            examples=steps * spec.batch_size,
            kept=FLOAT * (trained + target),
            passing=_checkpoints(trained, target),
        )

    def _finetune(self, run: Run) -> Cost:
        spec: JobSpec = TypeAdapter(FinetuneSpec).validate_python(dict(run.spec))
        pretrained = ModelSpec.model_validate(self._plan.runs[run.inputs["init"]].spec["model"])
        shape = pretrained.model_copy(update={"image_size": spec.transform.size})
        data = self.sizes(run)
        examples = sum(sizes.records["train"] for sizes in data)
        steps = spec.schedule.total_steps(examples, spec.batch_size)
        job = job_of(run.spec["task"]).cost(spec, Network(shape, self.vocab_size), data[0])
        rounds = min(spec.validations, steps) if spec.validations > 1 else 0
        count = parameters.network(shape, self.vocab_size) + job.parameters
        return Cost(
            training=job.example * steps * spec.batch_size,
            evaluation=job.test + rounds * job.validation,
            shared=job.shared,
            steps=steps,
            examples=steps * spec.batch_size,
            kept=FLOAT * count if steps else 0.0,
            passing=(_checkpoints(count, 0) + 2 * FLOAT * count) if steps else 0.0,
        )


def _checkpoints(trained: int, target: int) -> float:
    """Return the bytes of two complete states: weights, both moments of AdamW, and the target network."""
    return 2.0 * FLOAT * (3 * trained + target)
