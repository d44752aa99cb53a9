"""Estimate the work of runs, pages and notebooks in seconds on an ordinary machine, before anything is made.

The seconds are rough: the time shown to users is corrected by how long the first runs really take (see
:mod:`mamo.cli.progress`). Only their proportions matter, so that a pre-training counts for more than a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from mamo.cost.flops import Network
from mamo.cost.runs import PREPARED_PER_SECOND, Cost, Costs
from mamo.cost.sizes import PUBLISHED, Sizes, is_prepared, sizes_of
from mamo.specs.identity import Run
from mamo.specs.model import ModelSpec
from mamo.specs.plan import Plan
from mamo.specs.world import WorldSpec

CPU_RATE = 50e9  # operations per second of a few cores with small matrices
GPU_RATE = 50e12  # of one server GPU at the paper's sizes
WORLD_PER_SECOND = 200.0  # small images that one core prepares, or draws for the embedded world
STARTING = 1.0  # additional seconds of any run
FETCHING = 30.0  # seconds for published weights
TEACHER_OPERATIONS, TEACHER_SIDE = 0.8e9, 224  # of EfficientNet-Lite0 for an image of that side
PAGE, DRAWN, SITE, NOTEBOOK = (
    4.0,
    15.0,
    10.0,
    20.0,
)  # seconds of a table, of a figure that models draw, and so on
CAPTIONS, EXPRESSIONS = 5, 6  # of an image in the world's COCO and Flickr30K; of one in its RefCOCO+


class Part(NamedTuple):
    """One thing to be made.

    Attributes:
        kind: of a run, or ``page`` or ``notebook``.
        seconds: on an ordinary machine.
    """

    kind: str
    seconds: float


def work_of(plan: Plan, runs: Iterable[Run], results: Path, rate: float = CPU_RATE) -> dict[str, Part]:
    """Run key -> its work.

    Args:
        rate: operations per second of the machine that trains.
    """
    costs = _Counted(plan, results)
    return {run.key: Part(run.kind, costs.seconds(run, rate)) for run in runs}


def work_of_pages(plan: Plan, pages: Iterable[str], notebooks: Iterable[str]) -> dict[str, Part]:
    """Page or ``notebook NAME`` -> its work, an estimated share."""
    parts = {}
    for name in pages:
        seconds = DRAWN if name in plan.figures else SITE if name == "index" else PAGE
        parts[name] = Part("page", seconds)
    return parts | {f"notebook {name}": Part("notebook", NOTEBOOK) for name in notebooks}


def describe_work(plan: Plan, runs: Iterable[Run], results: Path) -> str:
    """Describe the cost of some runs: how many of each kind, counted operations, and time on an ordinary machine."""
    runs = list(runs)
    costs = _Counted(plan, results)
    kinds: dict[str, int] = {}
    for run in runs:
        kinds[run.kind] = kinds.get(run.kind, 0) + 1
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    operations = sum(costs.operations(run) for run in runs)
    release = plan.scale.data.source == "release"
    seconds = sum(costs.seconds(run, GPU_RATE if release else CPU_RATE) for run in runs)
    machine = "one server GPU" if release else "a few CPU cores"
    amount = f"{len(runs)} run{'s' * (len(runs) != 1)} ({counted})"
    return f"{amount}: {operations:.1e} operations, very roughly {_time(seconds)} on {machine}"


def _time(seconds: float) -> str:
    for size, unit in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{max(1.0, seconds):.0f} seconds"


class _Counted(Costs):
    """The costs of runs, with estimated sizes for data that are not prepared yet."""

    def sizes(self, run: Run) -> list[Sizes]:
        """Return the sizes of a run's data sets, in the order of its spec."""
        return [self._sizes(self._plan.runs[run.inputs[f"data:{name}"]]) for name in run.spec["data"]]

    def operations(self, run: Run) -> float:
        """Return the operations of a run, those of starting weights that are trained here included."""
        return self._trained_weights(run) if run.kind == "weights" else self.runs[run.key].flops

    def seconds(self, run: Run, rate: float) -> float:
        """Return a run's work."""
        if run.kind == "data":
            images = self._sizes(run).images if "dataset" in run.spec else 0
            world = self._plan.scale.data.world
            if world is not None and not images:
                images = sum(self._sizes_in(world, name).images for name in self._plan.scale.data.datasets)
            return STARTING + images / (PREPARED_PER_SECOND if world is None else WORLD_PER_SECOND)
        if run.kind == "weights" and run.spec.get("source") in ("timm", "transformers"):
            return FETCHING
        return STARTING + self.operations(run) / rate

    def _data(self, run: Run) -> Cost:
        return Cost()

    def _trained_weights(self, run: Run) -> float:
        training = run.spec.get("training")
        if not training:
            return 0.0
        seen = 0.0
        if teacher := run.spec.get("teacher"):
            photos = sum(
                self._sizes(self._plan.runs[key]).shown.get("train", 0) for key in run.inputs.values()
            )
            views = photos * (1 + teacher["crops"])
            seen = TEACHER_OPERATIONS * (teacher["image_size"] / TEACHER_SIDE) ** 2 * views
        model = ModelSpec.model_validate(run.spec["model"])
        network = Network(model, self.vocab_size)
        words = model.max_words
        way = network.text(words) + network.fusion(words) if run.spec["role"] == "text" else network.vision()
        if run.spec["role"] == "vision":
            way -= 2 / 3 * network.stem()  # which is frozen
        return float(3 * way * training["steps"] * training["batch_size"] + seen)

    def _sizes(self, run: Run) -> Sizes:
        if is_prepared(run, self._results):
            try:
                return sizes_of(run, self._results)
            except (KeyError, ValueError):
                pass  # the run itself reports a damaged manifest; an estimate must not stop the work
        world, name = self._plan.scale.data.world, run.spec["dataset"]
        if world is not None:
            return self._sizes_in(world, name)
        return PUBLISHED.get(name, PUBLISHED["flickr8k"])

    @staticmethod
    def _sizes_in(world: WorldSpec, name: str) -> Sizes:
        """Estimate roughly how many images and records the world's writers will write."""
        coco, flickr, nlvr2, refcoco = world.coco, world.flickr30k, world.nlvr2, world.refcoco_plus
        trained = coco.train + coco.restval
        shown: Mapping[str, float]
        shown, images_per_record = {
            "coco": ({"train": trained, "val": coco.val, "test": coco.test}, CAPTIONS),
            "flickr30k": ({"train": flickr.train, "val": flickr.val, "test": flickr.test}, CAPTIONS),
            "visual_genome": ({"train": world.visual_genome}, world.regions_per_image),
            "visual_genome_qa": ({"train": world.visual_genome}, world.visual_genome_questions),
            "sbu": ({"train": world.sbu}, 1),
            "cc3m": ({"train": world.cc3m}, 1),
            "vqa2": (
                {"train": trained + coco.val, "val": coco.test, "test": coco.test2015},
                world.questions_per_image,
            ),
            "nlvr2": ({"train": 2 * nlvr2.train, "dev": 2 * nlvr2.dev, "test": 2 * nlvr2.test}, 0.5),
            "refcoco_plus": (
                {"train": refcoco.train, "val": refcoco.val, "testA": refcoco.testA, "testB": refcoco.testB},
                EXPRESSIONS,
            ),
        }.get(name, ({"train": trained, "val": coco.val, "test": coco.test}, CAPTIONS))
        images = {split: int(count) for split, count in shown.items()}
        return Sizes(
            sum(images.values()),
            {split: int(count * images_per_record) for split, count in images.items()},
            images,
            0,
        )
