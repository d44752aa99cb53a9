"""Check settings across specs, so that no run of a plan fails after its inputs have already been made.

Errors within one section are refused there. Each function here yields lines that name the setting, what is wrong and what to
do; none if all is well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from mamo.specs.ablation import ColumnSpec
from mamo.specs.figure import RECORDS, FigureSpec
from mamo.specs.finetune import (
    AlignmentSpec,
    GroundingSpec,
    JobSpec,
    LocalisationSpec,
    Nlvr2Spec,
    RetrievalSpec,
    VqaSpec,
)
from mamo.specs.model import ModelSpec
from mamo.specs.names import nearest
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.releases import RELEASES
from mamo.specs.scale import Scale
from mamo.specs.transforms import TransformSpec
from mamo.specs.weights import TEACHER_STRIDE

SEEDS = 2**48  # limit of seeds in the order of examples
STAND_INS = ("naming", "distilled", "mlm", "scratch")


_RECALLS = tuple(f"{way}_r{k}" for way in ("tr", "ir") for k in (1, 5, 10))
_OF_ITC = tuple(f"itc_{name}" for name in (*_RECALLS, "mean_recall"))  # by similarity alone, not re-ranked
_NAMED = tuple(f"{what}_{how}" for what in ("object", "colour") for how in ("share", "pointing"))


class _Task(NamedTuple):
    """Inputs and metrics of a kind of job."""

    kind: str
    splits: tuple[str, ...]
    """Splits of the first data set on which it validates and tests."""
    metrics: tuple[str, ...]
    open: tuple[str, ...] = ()
    """Prefixes of metrics whose endings depend on the data."""


TASKS: Mapping[type[JobSpec], _Task] = {
    RetrievalSpec: _Task("captions", ("val", "test"), (*_RECALLS, "mean_recall", *_OF_ITC)),
    VqaSpec: _Task(
        "vqa",
        ("val",),
        ("accuracy", "evaluated_on_val", "test_dev_accuracy", "test_std_accuracy"),
        ("accuracy/",),
    ),
    Nlvr2Spec: _Task("nlvr2", ("dev", "test"), ("dev_accuracy", "test_accuracy")),
    GroundingSpec: _Task(
        "refs", ("val", "testA", "testB"), ("val_accuracy", "testA_accuracy", "testB_accuracy")
    ),
    LocalisationSpec: _Task("captions", ("test",), (*_NAMED, *LocalisationSpec.COUNTS)),
}


def of_data(scale: Scale) -> Iterator[str]:
    """Check names, splits and interleaving of the scale's data sets."""
    for name, spec in scale.data.datasets.items():
        release = RELEASES.get(name)
        if release is None:
            yield f"data.datasets.{name}: no such data set{nearest(name, RELEASES)}"
            continue
        for split in spec.limits or {}:
            if split not in release.splits:
                yield f"data.datasets.{name}.limits.{split}: its splits are {', '.join(release.splits)}"
        if spec.interleave > 1 and release.kind != "captions":
            yield f"data.datasets.{name}.interleave: is for captions, and {name} has {release.kind}"


def of_weights(scale: Scale) -> Iterator[str]:
    """Check the sizes at which stand-ins for published weights are trained."""
    vision, patch = scale.weights.vision, scale.pretrain.model.patch_size
    for size in vision.image_sizes:
        if size % patch:
            yield f"weights.vision.image_sizes: {size} is not a multiple of pretrain.model.patch_size {patch}"
    if vision.teacher is not None:
        grid, taught = scale.pretrain.model.image_size // patch, vision.teacher.image_size // TEACHER_STRIDE
        if grid != taught:
            yield (
                f"weights.vision.teacher.image_size: {vision.teacher.image_size} gives a map of {taught} x {taught}, and the "
                f"model has {grid} x {grid} patches; {grid * TEACHER_STRIDE} gives as many"
            )

    stem = scale.pretrain.model.stem
    if stem is not None and (vision.teacher is None or vision.teacher.architecture != stem):
        yield (
            f"pretrain.model.stem: {stem} takes its weights from a teacher: set weights.vision.source to distilled, and "
            "weights.vision.teacher.architecture to the same name"
        )


def of_pretraining(spec: PretrainSpec, scale: Scale) -> Iterator[str]:
    """Check a pre-training against its data and starting weights."""
    plain = TransformSpec()
    if spec.model.stem and (spec.transform.mean, spec.transform.std) != (plain.mean, plain.std):
        yield "transform: model.stem reads images of the mean and deviation that are the default"
    yield from _of_kind("data", spec.data, "captions", "pre-training reads")
    yield from _seed("seed", spec.seed)
    yield from _heads(spec)
    ours, theirs = spec.model, scale.pretrain.model
    if scale.weights.vision.source in STAND_INS:
        yield from _differ(ours, theirs, ("width", "vision_layers", "patch_size", "mlp_ratio"), "vision")
    if scale.weights.text.source in STAND_INS:
        yield from _differ(ours, theirs, ("width", "mlp_ratio"), "text")
        layers = [model.text_layers + model.fusion_layers for model in (ours, theirs)]
        if layers[0] != layers[1]:
            yield (
                f"model.text_layers and model.fusion_layers: {layers[0]} together, and the text weights are trained with "
                f"{layers[1]}: change one against the other"
            )


def _heads(spec: PretrainSpec) -> Iterator[str]:
    """Check that no ratio leaves a head without a single unit."""
    objectives, width = spec.objectives, spec.model.width
    ratios = {}
    if objectives.mim:
        ratios["objectives.mim.hidden_ratio"] = objectives.mim.hidden_ratio
    if objectives.mrm:
        ratios["objectives.mrm.hidden_ratio"] = objectives.mrm.hidden_ratio
        ratios["objectives.mrm.projection_ratio"] = objectives.mrm.projection_ratio
    for name, ratio in ratios.items():
        if round(width * ratio) < 1:
            yield f"{name}: {ratio} of model.width {width} leaves no unit"


def _differ(ours: ModelSpec, theirs: ModelSpec, names: Iterable[str], role: str) -> Iterator[str]:
    """List shapes in which a row differs from the model that the starting weights are trained for."""
    for name in names:
        own, other = getattr(ours, name), getattr(theirs, name)
        if own != other:
            yield (
                f"model.{name}: {own}, and the {role} weights are trained with {other}: only the scale's own pretrain.model "
                "can set it"
            )


def of_job(name: str, spec: JobSpec, model: ModelSpec, scale: Scale) -> Iterator[str]:
    """Check a downstream job against its data and the model that it starts from."""
    where, task = f"jobs.{name}", TASKS[type(spec)]
    yield from _of_kind(f"{where}.data", spec.data, task.kind, f"{spec.task} reads")  # type: ignore[attr-defined]
    first = RELEASES.get(spec.data[0]) if spec.data else None
    if first is not None:
        for split in (split for split in task.splits if split not in first.splits):
            yield f"{where}.data: {spec.data[0]} has no split '{split}' to evaluate on; put another data set first"
    yield from _seed(f"{where}.seed", spec.seed)
    if spec.transform.size % model.patch_size:
        yield f"{where}.transform.size: {spec.transform.size} is not a multiple of the model's patch_size {model.patch_size}"
    if isinstance(spec, AlignmentSpec) and spec.schedule.epochs and spec.batch_size < 2:
        yield f"{where}.batch_size: ITM draws its negatives from the batch, so it needs two pairs or more"
    if isinstance(spec, GroundingSpec | LocalisationSpec):
        yield from _read_layer(f"{where}.layer", spec.layer, model)
    if isinstance(spec, LocalisationSpec) and scale.data.world is None:
        yield f"{where}: localisation needs the true boxes of the embedded world, and data.source is {scale.data.source}"


def _read_layer(where: str, layer: int, model: ModelSpec) -> Iterator[str]:
    """Check a fusion layer for heat maps: the [CLS] score must depend on its attention from words to patches."""
    last = model.fusion_layers
    if last < 2:
        yield f"{where}: the model has one fusion layer, of which ITM's score reads [CLS] alone: it needs two or more"
    elif not 1 <= layer < last:
        what = (
            "is the last one, of which ITM's score reads [CLS] alone" if layer == last else "does not exist"
        )
        yield f"{where}: fusion layer {layer} {what}: set it to one of 1 to {last - 1}"


def of_column(column: ColumnSpec, spec: JobSpec, model: ModelSpec) -> Iterator[str]:
    """Check that a column's job records its metric, of the scale's model."""
    task, known = TASKS[type(spec)], _metrics(spec, model)
    metric = column.metric.removeprefix("chance/")
    for name in (metric, *([column.submitted] if column.submitted else [])):
        if name not in known and not name.startswith(("train/", *task.open)):
            yield f"job '{column.job}' records no metric '{name}'{nearest(name, known)}"


def _metrics(spec: JobSpec, model: ModelSpec) -> tuple[str, ...]:
    """List a job's metrics, with those of the readings of heat maps that its spec does not choose."""
    known = TASKS[type(spec)].metrics
    if not isinstance(spec, GroundingSpec | LocalisationSpec):
        return known
    others = [f"layer{layer}" for layer in range(1, model.fusion_layers) if layer != spec.layer]
    if isinstance(spec, GroundingSpec):
        others.append("words" if spec.tokens == "all" else "all")
    scores = [name for name in known if name not in LocalisationSpec.COUNTS]
    return (*known, *(f"{name}_{other}" for name in scores for other in others))


def of_figure(figure: FigureSpec, layer: int, scale: Scale, models: Iterable[PretrainSpec]) -> Iterator[str]:
    """Check a figure against its examples' data, its job and its models."""
    kind, release = RECORDS[figure.method], RELEASES.get(figure.data)
    yield from _of_kind("data", (figure.data,), kind, f"method {figure.method} shows")
    if release is not None and figure.split not in release.splits:
        yield f"split: {figure.data} has no '{figure.split}' ({', '.join(release.splits)})"
    job = scale.jobs.get(figure.job or "")
    for method, needed in (("grounding", GroundingSpec), ("answers", VqaSpec)):
        if figure.method == method and job is not None and not isinstance(job, needed):
            yield f"job: method {method} explains a job of another task than '{figure.job}'"
    for spec in models:
        if figure.method in ("words", "grounding"):
            yield from _read_layer("layer", layer, spec.model)
        elif not 1 <= layer <= spec.model.fusion_layers:
            yield f"layer {layer}: a model's fusion encoder has layers 1 to {spec.model.fusion_layers}"
        if figure.method.startswith("masked") and spec.objectives.mrm is None:
            yield f"method {figure.method} explains the MRM loss, and objectives.mrm is switched off"


def _of_kind(where: str, names: Iterable[str], kind: str, reader: str) -> Iterator[str]:
    for name in names:
        release = RELEASES.get(name)
        if release is not None and release.kind != kind:
            yield f"{where}: {reader} {kind}, and {name} has {release.kind}"


def _seed(where: str, seed: int) -> Iterator[str]:
    if not 0 <= seed < SEEDS:
        yield f"{where}: {seed} is not between 0 and {SEEDS - 1}"
