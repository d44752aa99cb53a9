"""Plan a scale: turn its ablations into distinct runs and the tables' cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mamo.specs.ablation import AblationSpec, RowSpec, read_ablation
from mamo.specs.figure import FOLDER, FigureSpec, read_figure
from mamo.specs.finetune import GroundingSpec
from mamo.specs.identity import Run, SpecValues, changes, difference_name, digest
from mamo.specs.model import ModelSpec
from mamo.specs.names import find_key, nearest
from mamo.specs.overrides import SpecError, apply, build
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import Scale, read_scale
from mamo.specs.seeds import Seeds, by_ablation
from mamo.specs.validity import of_column, of_data, of_figure, of_job, of_pretraining, of_weights

WORLD = "world"


@dataclass(frozen=True)
class Cell:
    """The source of a table's value: one metric of one run per seed."""

    row: str
    column: str
    metric: str
    runs: tuple[str, ...]


@dataclass(frozen=True)
class TablePlan:
    """An ablation with its cells bound to runs.

    Attributes:
        pretrainings: row key -> the keys of its pre-training runs, one per seed.
        inputs: keys of every run whose record the table reads.
    """

    ablation: AblationSpec
    cells: tuple[Cell, ...]
    pretrainings: Mapping[str, tuple[str, ...]]
    inputs: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Changes with the ablation file or with any run that the table reads."""
        return digest({"ablation": self.ablation.model_dump(mode="json"), "inputs": sorted(self.inputs)})

    @property
    def id(self) -> str:
        """Name and digest, as in the table's file name."""
        return f"{self.ablation.name}-{self.digest}"


@dataclass(frozen=True)
class FigurePlan:
    """A figure drawn from models, bound to their runs.

    Attributes:
        models: model key -> the key of its run: a pre-training, or a fine-tuning on the figure's job.
        data: the key of the data run that the examples come from.
        layer: the fusion layer, counted from 1.
    """

    figure: FigureSpec
    models: Mapping[str, str]
    data: str
    layer: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Keys of every run that the figure reads."""
        return (*dict.fromkeys(self.models.values()), self.data)

    @property
    def digest(self) -> str:
        """Changes with the figure's file or with any run that it reads."""
        values = {"figure": self.figure.content, "layer": self.layer}
        return digest(values | {"inputs": sorted(self.inputs)})


@dataclass
class Plan:
    """Everything that a scale's ablations need.

    Attributes:
        runs: run key (``kind/id``) -> run; each spec occurs once, however many tables show it.
        tables: ablation name -> its table.
        figures: name -> a figure drawn from models.
        others: ablation name -> a table that is made only when it is asked for by name.
        requested: number of runs if each table executed all of its own; runs that only figures read count once.
    """

    scale: Scale
    runs: dict[str, Run] = field(default_factory=dict)
    tables: dict[str, TablePlan] = field(default_factory=dict)
    figures: dict[str, FigurePlan] = field(default_factory=dict)
    others: dict[str, TablePlan] = field(default_factory=dict)
    requested: int = 0

    def by_kind(self, kind: str) -> list[Run]:
        """List the runs of one kind, in planning order."""
        return [run for run in self.runs.values() if run.kind == kind]

    def find(self, kinds: str | Iterable[str], name: str, also: Iterable[str] = ()) -> Run:
        """Find the run that a name stands for, among one or several kinds (see :func:`mamo.specs.names.find_key`).

        Args:
            also: other names that could have been meant, for the message.

        Raises:
            SpecError: no run fits, or several do; the message has the nearest names.
        """
        kinds, also = (kinds,) if isinstance(kinds, str) else tuple(kinds), list(also)
        names = {run.key: run.name for run in self.runs.values() if run.kind in kinds}
        what = f"{' or '.join(kinds)} run" if len(kinds) <= 2 else "run"
        what = f"table or {what}" if also else what
        return self.runs[find_key(name, names, f"{what} of scale '{self.scale.name}'", also=also)]

    def find_trained(self, name: str) -> Run:
        """Find the pre-training or fine-tuning that a name or a run's directory stands for, by the same rule.

        Raises:
            SpecError: none, or several; the message lists those that come near.
        """
        return self.find(("pretrain", "finetune"), "/".join(name.rstrip("/").split("/")[-2:]))

    def lenders(self, table: TablePlan) -> list[TablePlan]:
        """Find tables with several seeds that can lend their noise between seeds to readings with one seed."""
        ablation = table.ablation
        if ablation.kind != "readings" or ablation.seeds > 1:
            return []
        scores = {(column.job, column.metric) for column in ablation.columns}
        return [
            other
            for other in self.tables.values()
            if other.ablation.seeds > 1 and scores <= {(c.job, c.metric) for c in other.ablation.columns}
        ]

    @property
    def whole(self) -> set[str]:
        """Return the keys of the runs that the tables and figures need, without those that only ``others`` need."""
        inputs = [table.inputs for table in self.tables.values()] + [f.inputs for f in self.figures.values()]
        return self.closure(key for keys in inputs for key in keys)

    def closure(self, keys: Iterable[str]) -> set[str]:
        """Return the named runs and all their inputs, direct and indirect."""
        pending, seen = list(keys), set()
        while pending:
            key = pending.pop()
            if key not in seen:
                seen.add(key)
                pending += self.runs[key].inputs.values()
        return seen


class Planner:
    """Bind runs to their inputs for one scale."""

    def __init__(self, scale: Scale) -> None:
        self.scale = scale
        self.plan = Plan(scale)
        self._digests: dict[tuple[str, str], str] = {}
        refuse(f"scale '{scale.name}'", [*of_data(scale), *of_weights(scale)])

    def _add(self, run: Run) -> str:
        known = self._digests.setdefault((run.kind, run.digest), run.key)
        if known == run.key:
            self.plan.runs[run.key] = run
        return known

    def dataset(self, name: str) -> str:
        """Return the run that prepares a data set."""
        data = self.scale.data
        if name not in data.datasets:
            raise SpecError(
                f"scale '{self.scale.name}' has no data set '{name}'{nearest(name, data.datasets)}"
            )
        inputs = {}
        if data.world is not None:
            inputs[WORLD] = self._add(Run("data", WORLD, data.world.model_dump(mode="json")))
        spec = {"dataset": name, "source": data.source} | data.datasets[name].model_dump(mode="json")
        return self._add(Run("data", name, spec, inputs))

    def weights(self, role: str) -> str:
        """Return the run that makes the starting weights of a role: vision, text or visual_tokens."""
        part = getattr(self.scale.weights, role)
        spec = {"role": role} | part.model_dump(mode="json")
        inputs: dict[str, str] = {}
        if part.source in ("naming", "distilled", "mlm", "dvae", "scratch"):
            model = self.scale.pretrain.model.model_dump(mode="json")
            spec["model"] = model
        if part.source in ("mlm", "dvae", "distilled"):
            # BERT's stand-in is trained on all training texts, captions and questions; the other two on images.
            names = self.scale.data.datasets if part.source == "mlm" else self.scale.pretrain.data
            inputs = {f"data:{name}": self.dataset(name) for name in names}
        if part.source == "naming":
            if self.scale.data.world is None:
                raise SpecError(
                    f"scale '{self.scale.name}': weights.vision.source naming needs the embedded world"
                )
            inputs = {WORLD: self._add(Run("data", WORLD, self.scale.data.world.model_dump(mode="json")))}
        return self._add(Run("weights", role, spec, inputs))

    def pretraining(self, overrides: SpecValues, where: str, seed: int = 0) -> str:
        """Return the pre-training run of the scale's spec with ``overrides`` and its seed raised by ``seed``."""
        base = self.scale.pretrain.model_dump(mode="json")
        spec = build(PretrainSpec, apply(base, overrides, where), where)
        spec = spec.model_copy(update={"seed": spec.seed + seed})
        refuse(where, of_pretraining(spec, self.scale))
        inputs = {f"data:{name}": self.dataset(name) for name in spec.data}
        inputs |= {"vision": self.weights("vision"), "text": self.weights("text")}
        if spec.needs_visual_tokens:
            inputs["visual_tokens"] = self.weights("visual_tokens")
        values = spec.model_dump(mode="json")
        return self._add(Run("pretrain", difference_name("mamo", changes(base, values)), values, inputs))

    def finetuning(self, job: str, pretraining: str, where: str, seed: int = 0) -> str:
        """Return the downstream run of a job from a pre-training."""
        if job not in self.scale.jobs:
            raise SpecError(
                f"{where}: scale '{self.scale.name}' has no job '{job}'{nearest(job, self.scale.jobs)}"
            )
        spec = self.scale.jobs[job]
        spec = spec.model_copy(update={"seed": spec.seed + seed})
        model = ModelSpec.model_validate(self.plan.runs[pretraining].spec["model"])
        refuse(f"{where}: scale '{self.scale.name}'", of_job(job, spec, model, self.scale))
        inputs = {"init": pretraining, "text": self.weights("text")}
        inputs |= {f"data:{name}": self.dataset(name) for name in spec.data}
        name = f"{job}-{self.plan.runs[pretraining].name}"
        return self._add(Run("finetune", name, spec.model_dump(mode="json"), inputs))

    def table(self, ablation: AblationSpec) -> TablePlan:
        """Enter all runs of an ablation and bind its cells to them."""
        where = f"ablations/{ablation.name}.yaml"
        if ablation.kind == "statistics":
            inputs = tuple(self.dataset(name) for name in ablation.datasets)
            return TablePlan(ablation, (), {}, inputs)
        for column in ablation.columns:
            if spec := self.scale.jobs.get(column.job):
                refuse(f"{where}: column '{column.key}'", of_column(column, spec, self.scale.pretrain.model))
        cells: list[Cell] = []
        pretrainings: dict[str, tuple[str, ...]] = {}
        used: list[str] = []
        for row in ablation.rows:
            keys = self._row(ablation, row, where)
            pretrainings[row.key] = keys
            used += keys
            for column in ablation.columns:
                if row.columns is None or column.key in row.columns:
                    runs = tuple(
                        self.finetuning(column.job, key, f"{where}: column '{column.key}'", seed)
                        for seed, key in enumerate(keys)
                    )
                    cells.append(Cell(row.key, column.key, column.metric, runs))
                    used += runs
        return TablePlan(ablation, tuple(cells), pretrainings, tuple(dict.fromkeys(used)))

    def figure(self, figure: FigureSpec) -> FigurePlan:
        """Enter the runs of a figure's models and bind the figure to them."""
        where = f"ablations/figures/{figure.name}.yaml"
        models, specs = {}, []
        for model in figure.models:
            key = self.pretraining(model.set, f"{where}: model '{model.key}'")
            specs.append(PretrainSpec.model_validate(self.plan.runs[key].spec))
            models[model.key] = self.finetuning(figure.job, key, where) if figure.job else key
        layers, grounding = self.scale.pretrain.model.fusion_layers, self.scale.jobs.get("grounding")
        layer = figure.layer
        if layer is None:
            if not isinstance(grounding, GroundingSpec):
                raise SpecError(
                    f"{where}: set layer: scale '{self.scale.name}' has no job 'grounding' to take it from"
                )
            layer = grounding.layer
        layer = layers if layer == "last" else layer
        refuse(where, of_figure(figure, layer, self.scale, specs))
        return FigurePlan(figure, models, self.dataset(figure.data), layer)

    def _row(self, ablation: AblationSpec, row: RowSpec, where: str) -> tuple[str, ...]:
        overrides = {**ablation.base, **row.set}
        return tuple(
            self.pretraining(overrides, f"{where}: row '{row.key}'", seed) for seed in range(ablation.seeds)
        )


def refuse(where: str, problems: Iterable[str]) -> None:
    """Raise an error if a check found problems.

    Raises:
        SpecError: one line for each problem, each with the place.
    """
    lines = [f"{where}: {problem}" for problem in dict.fromkeys(problems)]
    if lines:
        raise SpecError("\n".join(lines))


def make_plan(
    scale_name: str,
    ablations: Path = Path("ablations"),
    only: Iterable[str] | None = None,
    others: bool = False,
    seeds: Seeds = None,
) -> Plan:
    """Plan a scale: its ablations and figures (or only the named ones), their distinct runs and their tables.

    Args:
        others: also plan what the scale can make but does not make by default.
        seeds: runs per row, for every experiment or by ablation, overriding the scale and the files.

    Raises:
        SpecError: any wrong name, key or value in the files, with the place and the nearest valid name.
    """
    scale = _with_seeds(read_scale(scale_name, ablations), ablations, seeds)
    planner = Planner(scale)
    plan = planner.plan
    listed, further = _ablation_names(scale, ablations) if only is None or others else ((), ())
    if only is not None:
        only = list(only)
        check_tables(only, scale, ablations)
    for name in only if only is not None else [*listed, *scale.figures]:
        if name in scale.figures or (ablations / FOLDER / f"{name}.yaml").is_file():
            plan.figures[name] = planner.figure(read_figure(name, ablations))
            continue
        table = planner.table(_read_for_scale(scale, name, ablations))
        plan.tables[name] = table
        plan.requested += len(plan.closure(table.inputs))
    read = [key for table in plan.tables.values() for key in plan.closure(table.inputs)]
    plan.requested += len(plan.runs.keys() - set(read))
    for name in further if others else ():
        if name not in plan.tables:
            plan.others[name] = planner.table(_read_for_scale(scale, name, ablations))
    return plan


def check_tables(names: Iterable[str], scale: Scale, ablations: Path) -> None:
    """Check that every name is an ablation or a figure.

    Raises:
        SpecError: a name that no file has, with the nearest one.
    """
    folders = (ablations, ablations / FOLDER)
    known = {path.stem for folder in folders for path in folder.glob("*.yaml")} | set(scale.figures)
    for name in names:
        if name not in known:
            raise SpecError(f"{ablations / f'{name}.yaml'}: no such file{nearest(name, known)}")


def _with_seeds(scale: Scale, ablations: Path, seeds: Seeds) -> Scale:
    """Return the scale with the runs per row that a call asks for."""
    if seeds is None:
        return scale
    read = [read_ablation(path.stem, ablations) for path in sorted(ablations.glob("*.yaml"))]
    chosen = by_ablation(seeds, [ablation.name for ablation in read if ablation.kind != "statistics"])
    return scale.model_copy(update={"seeds": {**scale.seeds, **chosen}})


def _read_for_scale(scale: Scale, name: str, ablations: Path) -> AblationSpec:
    """Read an ablation as the scale makes it."""
    ablation = read_ablation(name, ablations)
    seeds = scale.seeds.get(name)
    return (
        ablation if seeds is None else AblationSpec.model_validate(ablation.model_dump() | {"seeds": seeds})
    )


def _ablation_names(scale: Scale, ablations: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """List the ablations that the scale makes by default, and the others that it can make with its jobs and data.

    Raises:
        SpecError: a file names a scale that does not exist, or the scale gives seeds to an ablation that does not.
    """
    scales = {path.stem for path in (ablations / "scales").glob("*.yaml")}
    files = {path.stem: path for path in sorted(ablations.glob("*.yaml"))}
    unknown = [name for name in scale.seeds if name not in files]
    if unknown:
        raise SpecError(
            f"{ablations / 'scales' / f'{scale.name}.yaml'}: seeds.{unknown[0]}: no such ablation{nearest(unknown[0], files)}"
        )
    listed, further = list(scale.ablations), []
    for name in (name for name in files if name not in scale.ablations):
        ablation = read_ablation(name, ablations)
        unknown = sorted(set(ablation.scales) - scales)
        if unknown:
            raise SpecError(
                f"{files[name]}: scales: no scale named '{unknown[0]}'{nearest(unknown[0], scales)}"
            )
        if scale.name in ablation.scales:
            listed.append(name)
        elif not ablation.scales and _can_make(scale, ablation):
            further.append(name)
    return tuple(listed), tuple(further)


def _can_make(scale: Scale, ablation: AblationSpec) -> bool:
    jobs = {column.job for column in ablation.columns}
    return jobs <= set(scale.jobs) and set(ablation.datasets) <= set(scale.data.datasets)
