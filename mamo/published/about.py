"""Describe a trained model: its kind, its training data and its scores, from its runs' records, kept in ``config.json``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mamo.files.record import Record, Stored
from mamo.files.stored import StoredError, read_record_file
from mamo.jobs.registry import JOBS, job_of

PRETRAINING = "pretraining"  # the task of a model that no job has trained
LEVEL = 0.95


class Score(Stored):
    """One score of a model.

    Attributes:
        job, task, data: what was measured, and on which data set.
        lower, upper: of the 95 % interval; None where it is not known.
    """

    job: str
    task: str
    data: str
    metric: str
    value: float
    lower: float | None = None
    upper: float | None = None
    chance: float | None = None

    @property
    def interval(self) -> str:
        """`` [lower, upper]``, or nothing."""
        return "" if self.lower is None else f" [{self.lower:.1f}, {self.upper:.1f}]"


class About(Stored):
    """Origin and scores of a model, from its record and those of its inputs.

    Attributes:
        task: ``pretraining`` or a job's.
        data, pretrained_on: names of data sets.
        generated: whether they come from the embedded world; None where their records are gone.
        start: hub names of the weights that pre-training started from.
    """

    task: str = PRETRAINING
    data: tuple[str, ...] = ()
    pretrained_on: tuple[str, ...] = ()
    generated: bool | None = None
    start: tuple[str, ...] = ()
    scores: tuple[Score, ...] = ()

    @property
    def datasets(self) -> list[str]:
        """All data sets that the model saw."""
        return list(dict.fromkeys([*self.pretrained_on, *self.data]))

    @property
    def saw(self) -> str:
        """The data sets of the model, and whether all of them were generated."""
        names = ", ".join(self.datasets) or "unknown data"
        if self.generated:
            return f"only generated scenes, no photographs (the embedded world, in the formats of {names})"
        return names


def about_of(record: Record, results: Path) -> About:
    """Summarise a model's record and those of its inputs.

    Args:
        results: the scale's results, which hold the run.
    """
    spec, downstream = record.spec, record.kind == "finetune"
    first = _read_record(results, record.inputs.get("init", "")) if downstream else record
    pretrained = first.spec.get("data", []) if first else []
    inputs = [item for owner in (record, first) if owner for item in owner.inputs.items()]
    read = [_read_record(results, key) for role, key in inputs if role.startswith("data:")]
    sources = {source for data in read if data and (source := data.spec.get("source"))}
    return About(
        task=spec["task"] if downstream else PRETRAINING,
        data=tuple(spec["data"]),
        pretrained_on=tuple(pretrained),
        generated="world" in sources if sources else None,
        start=tuple(_start(first, results)) if first else (),
        scores=tuple(_scores(record, results)),
    )


def read_about(config: Mapping[str, Any]) -> About | None:
    """Read the summary in a model's ``config.json``; None if it has none."""
    return About.model_validate(config["about"]) if config.get("about") else None


def describe(config: Mapping[str, Any], parameters: int) -> str:
    """Describe a model in a few lines: what it is, what it saw, what it scored."""
    about, model = read_about(config), config["model"]
    task = (config.get("task") or {}).get("task") or (about.task if about else PRETRAINING)
    lines = [
        f"MAMO, {title_of(task)}: {config.get('run') or 'a run without a name'}, scale {config.get('scale')}",
        f"  {parameters / 1e6:.1f} M parameters; images of {model['image_size']} px in patches of {model['patch_size']};"
        f" layers: {model['vision_layers']} for images, {model['text_layers']} for texts, {model['fusion_layers']} for both",
    ]
    if about:
        lines.append(f"  saw {about.saw}")
        lines += [f"  scored {line}" for line in main_scores(about)] or ["  no scores are recorded"]
    return "\n".join(lines)


def main_scores(about: About) -> list[str]:
    """A line for each job that scored the model: its main metrics in words, and where the others are."""
    from mamo.reporting.names import job_name

    lines = []
    for job in dict.fromkeys(score.job for score in about.scores):
        mine = [score for score in about.scores if score.job == job]
        words = JOBS[mine[0].task].main if mine[0].task in JOBS else {}
        shown = [score for score in mine if score.metric in words] or mine[:1]
        said = [
            f"{words.get(score.metric, score.metric)} {score.value:.1f}{score.interval}" for score in shown
        ]
        more = len(mine) - len(shown)
        lines.append(
            f"{job_name(job)}: {', '.join(said)}" + (f"; {more} more in .about.scores" if more else "")
        )
    return lines


def title_of(task: str) -> str:
    """Name a model of a task in words."""
    return "pre-trained" if task == PRETRAINING else JOBS[task].title if task in JOBS else task


def _read_record(results: Path, key: str) -> Record | None:
    """Read the record of a run; None if there is none."""
    try:
        return read_record_file(results / key / "record.json") if key else None
    except (OSError, StoredError):
        return None


def _start(pretraining: Record, results: Path) -> list[str]:
    """Hub names of the published weights that a pre-training started from, or that taught its image encoder, whose early layers
    it then holds; stand-ins that were trained here have none."""
    sources = []
    for role in ("vision", "text"):
        weights = _read_record(results, pretraining.inputs.get(role, ""))
        spec = weights.spec if weights else {}
        name = spec.get("name")
        if spec.get("source") == "timm" and name:
            sources.append(f"timm/{name}")
        elif spec.get("source") == "distilled":
            sources.append(f"timm/{spec['teacher']['architecture']}.in1k")
        elif spec.get("source") == "transformers" and name:
            sources.append(name if "/" in name else f"google-bert/{name}")
    return sources


def _scores(record: Record, results: Path) -> Iterator[Score]:
    """Yield a fine-tuning's own scores; for a pre-training, the scores of jobs that evaluated it without training."""
    for directory, job in _evaluations(record, results):
        metrics, kind = job.metrics, job_of(job.spec["task"])
        known = _intervals(directory, job, results)
        for name, value in metrics.items():
            if not kind.is_score(name) or not math.isfinite(value):
                continue
            lower, upper = known.get(name, (None, None))
            chance = metrics.get(f"chance/{name}")
            yield Score(
                job=job.run.split("-")[0],
                task=job.spec["task"],
                data=job.spec["data"][0],
                metric=name,
                value=round(value, 4),
                lower=lower,
                upper=upper,
                chance=None if chance is None else round(chance, 4),
            )


def _evaluations(record: Record, results: Path) -> Iterator[tuple[Path, Record]]:
    if record.kind == "finetune":
        yield results / record.key, record
        return
    for path in sorted((results / "finetune").glob("*/record.json")):
        job = _read_record(results, f"finetune/{path.parent.name}")
        if job is None or job.inputs.get("init") != record.key or not job.converged:
            continue
        if job.spec.get("schedule", {}).get("epochs") == 0:
            yield path.parent, job


def _intervals(directory: Path, job: Record, results: Path) -> dict[str, tuple[float, float]]:
    """Compute 95 % intervals of a job's metrics over resampled test images, if its results per item exist."""
    from mamo.data.store.records import Prepared, PreparedError
    from mamo.reporting.items import contributions, read_items
    from mamo.reporting.resampling import resampled_means

    items = read_items(directory)
    if items is None:
        return {}
    images: dict[str, list[int]] = {}
    try:
        data = Prepared(results / job.inputs[f"data:{job.spec['data'][0]}"])
        for split in data.manifest["splits"]:
            if split != "train" and len(data.records(split)):
                images[split] = data.records(split).column("image").to_pylist()
    except (PreparedError, KeyError, OSError):
        images = {}  # then each item counts as its own image
    intervals = {}
    for name, value in job.metrics.items():
        contributed = contributions(job.spec["task"], name, items, images, job.metrics)
        if contributed is None or abs(contributed.values.mean() - value) > 1e-6 * max(1.0, abs(value)):
            continue
        draws = resampled_means(contributed.values[:, None], contributed.images)[:, 0]
        lower, upper = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        intervals[name] = (round(float(lower), 4), round(float(upper), 4))
    return intervals
