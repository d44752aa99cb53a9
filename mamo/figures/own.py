"""Make figures with the user's own photos, words and models."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mamo.data.store.records import Prepared
from mamo.data.world.truth import SceneTruth
from mamo.figures.examples import FigureExample, choose_examples, own_examples, photograph_examples
from mamo.figures.maps import Model
from mamo.runs.run import Context, RunError, read_record, require, require_files
from mamo.specs.overrides import SpecError
from mamo.specs.plan import FigurePlan, Plan

BUNDLED = "demo"  # the model used if nothing was trained yet
_SAYS = {"grounding": "an expression", "answers": "a question"}

# A model as a page names it, how to load it (None: it has nothing to show), and the fusion layer to read.
Chosen = tuple[dict[str, Any], Callable[[], Model] | None, int]


def choose_examples_and_scenes(
    plan: Plan,
    bound: FigurePlan,
    results: Path,
    images: Sequence[str | Path],
    texts: Sequence[str] | str | None,
) -> tuple[Prepared | None, SceneTruth | None, list[FigureExample]]:
    """Return the figure's examples, with the data set that they come from and what is known of its scenes; None for the user's
    photos.

    Raises:
        PreparedError: the data set is needed, and is not prepared.
        SpecError: see :func:`mamo.figures.maps.compute_figure`.
    """
    figure = bound.figure
    own_texts = [texts] if isinstance(texts, str) else list(texts or ())
    requested = [str(image) for image in images] or list(figure.images)
    files = [Path(image) for image in requested if Path(image).is_file()]
    if own_texts and not requested:
        raise SpecError("a text of your own needs an image: name a file or a key with --image")
    if len(own_texts) not in (0, 1, len(requested)):
        raise SpecError(
            f"{len(own_texts)} texts for {len(requested)} images: give one for all, or one for each"
        )
    own_texts = own_texts * len(requested) if len(own_texts) == 1 else own_texts
    if files and not own_texts:
        what = _SAYS.get(figure.method, "a caption")
        raise SpecError(f"{files[0]}: your own photo has no caption; give {what} with --text")
    if figure.photographs and not requested:
        return None, None, photograph_examples(figure.photographs)
    if files and len(files) == len(requested):
        return None, None, own_examples(files, own_texts)
    path = plan.runs[bound.data].directory(results)
    if requested and not path.is_dir():
        missing = next(image for image in requested if not Path(image).is_file())
        raise SpecError(
            f"'{missing}' is not a file here, and '{figure.data}' is not prepared, so it cannot be a key either: give "
            "a file or a key"
        )
    require_files(plan.runs[bound.data], results)
    data = Prepared(path)
    world = Context(plan, plan.runs[bound.data], results, None).world(bound.data)
    truth = SceneTruth(world) if world is not None else None
    if not files:
        return (
            data,
            truth,
            choose_examples(data, figure.split, figure.examples, figure.seed, requested, own_texts),
        )
    examples: list[FigureExample] = []
    for place, image in enumerate(requested):
        text = own_texts[place : place + 1]
        if Path(image).is_file():
            examples += own_examples([Path(image)], text, place)
        else:
            examples += choose_examples(data, figure.split, 1, figure.seed, [image], text)
    return data, truth, examples


def maps_without_project(
    name: str, images: Sequence[str], texts: Sequence[str], weights: str | None
) -> dict[str, Any]:
    """Return a map for each word of own photos where no figure's file is at hand: in the form of ``compute_figure``'s values.

    Raises:
        SpecError: a file cannot be read, nothing is said of it, or the model explains no words.
        LoadError: there are no such weights.
    """
    from mamo.data.store.images import ImageError
    from mamo.published.load import load
    from mamo.published.pretrained import TaskError

    if not images or not texts or len(texts) not in (1, len(images)):
        raise SpecError(
            f"{name}: there is no folder 'ablations' here, so the figure itself is not known; for photos of your own, give "
            "--image FILE and --text, one for all or one for each"
        )
    model = load(weights or BUNDLED)
    try:
        computed = [
            model.explain(image, text).values()
            for image, text in zip(
                images, texts if len(texts) > 1 else list(texts) * len(images), strict=True
            )
        ]
    except (ImageError, TaskError) as error:
        raise SpecError(str(error)) from error
    examples = [
        {**values["examples"][0], "image": image} for values, image in zip(computed, images, strict=True)
    ]
    return {**computed[0], "figure": name, "title": "Where each word looks", "examples": examples}


def figure_models(
    plan: Plan, bound: FigurePlan, results: Path, weights: str | None, own: bool
) -> Iterator[Chosen]:
    """Yield the models of a figure: those of its file, or one of the user's choice.

    For own photos, the package's model stands in where the scale's are not made yet.
    """
    if weights is not None:
        yield _model_named(plan, bound, results, weights)
        return
    figure = bound.figure
    runs = [(model, plan.runs[bound.models[model.key]]) for model in figure.models]
    if own:
        made = [(model, run) for model, run in runs if run.record(results).is_file()]
        if not made:
            from mamo.published.load import bundled

            if BUNDLED not in bundled():
                raise RunError(
                    f"scale '{plan.scale.name}' has made none of this figure's models, and the package has none: first run "
                    f"`mamo reproduce --scale {plan.scale.name} {figure.name}`, or name a model with --weights"
                )
            yield _model_named(plan, bound, results, BUNDLED)
            return
        runs = made
    else:
        require(plan, bound.inputs, results, figure.name)
    for model, run in runs:
        status = read_record(run, results).outcome.status
        described = {"key": model.key, "label": model.label, "run": run.key, "outcome": status}
        load = partial(Model.of_run, Context(plan, run, results, None)) if status == "converged" else None
        yield described, load, bound.layer


def _model_named(plan: Plan, bound: FigurePlan, results: Path, weights: str) -> Chosen:
    """Return a model by name: a finished run of the scale, else whatever ``mamo.load`` finds."""

    # The run's own folder holds more than an exported one: the target network, which MRM's figures read.
    try:
        run = plan.find_trained(weights)
    except SpecError:
        run = None
    if run is not None and run.record(results).is_file() and not Path(weights, "config.json").is_file():
        read_record(run, results)
        model = Model.of_run(Context(plan, run, results, None))
        name, label, layer = run.key, run.name, bound.layer
    else:
        from mamo.published.load import load
        from mamo.training.loop import pick_device

        loaded = load(weights).to(pick_device())
        model = Model(loaded.network, loaded.task, loaded.spec, loaded.tokenizer, loaded.transform)
        name = label = str(loaded.config.get("run") or weights)
        layer = len(loaded.network.fusion.layers) if bound.figure.method == "answers" else loaded.layer
    _require_fit(bound, model, weights)
    return {"key": "weights", "label": label, "run": name, "outcome": "converged"}, lambda: model, layer


def _require_fit(bound: FigurePlan, model: Model, weights: str) -> None:
    """Refuse a model that lacks what the figure explains."""
    from mamo.tasks.nlvr2 import Nlvr2Task
    from mamo.tasks.pretrain import PretrainTask
    from mamo.tasks.vqa import VqaTask

    figure, task = bound.figure, model.task
    without = isinstance(task, PretrainTask) and not task.spec.objectives.itm
    if figure.method in ("words", "grounding") and (without or isinstance(task, VqaTask | Nlvr2Task)):
        raise SpecError(
            f"{weights}: {figure.name} explains ITM's score, which its last training left out; name a model that was "
            "pre-trained, or fine-tuned for retrieval or grounding"
        )
    if figure.method == "answers" and not isinstance(task, VqaTask):
        raise SpecError(f"{weights}: {figure.name} explains answers; name a model fine-tuned for VQA")
    if figure.method.startswith("masked"):
        pretrained = isinstance(task, PretrainTask) and task.target is not None
        if not pretrained or task.online.projector is None:  # type: ignore[union-attr]
            raise SpecError(
                f"{weights}: {figure.name} explains the MRM loss, which needs the target network, and exported models leave it "
                "behind; name a run that was pre-trained with MRM"
            )
