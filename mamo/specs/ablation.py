"""An ablation: a question, a base, rows of overrides and the columns to show; one file in ``ablations/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec, check_names
from mamo.specs.overrides import build, load_yaml
from mamo.specs.readings import ContrastSpec, ReadingSpec, check_readings, row_of


class ColumnSpec(Spec):
    """One column: a metric of a downstream job."""

    key: str = Field(description="also the key of the paper's value")
    label: str
    group: str = Field("", description="heading over neighbouring columns")
    job: str = Field(description="a job of the scale")
    metric: str = Field(description="a metric that the job records")
    submitted: str | None = Field(
        None,
        description="a metric from an evaluation server, shown instead if its score was entered (vqa_scores.json)",
    )
    note: str | None = Field(
        None, description="how this column differs from the paper's, shown under the table"
    )


class RowSpec(Spec):
    """One of our models: overrides on the base, and the key of its counterpart in the paper."""

    key: str = Field(description="also the key of the paper's row")
    label: str
    set: dict[str, Any] = Field(default_factory=dict, description="dotted overrides of the pre-training spec")
    columns: tuple[str, ...] | None = Field(None, description="the columns shown for this row; null: all")
    series: str | None = Field(None, description="figures: the curve that the row belongs to")
    x: float | None = Field(None, description="figures: the row's place on the axis")


class AxesSpec(Spec):
    """A figure's axes, when the ablation is drawn as curves."""

    x: str = Field(description="label of the x axis")
    series: dict[str, str] = Field(description="curve -> its label")


class AblationSpec(Spec):
    """The content of one ablation file."""

    name: str
    title: str
    question: str
    hypothesis: str
    cost: str = Field(description="what it trains beyond the runs that it shares")
    kind: Literal["table", "figure", "statistics", "readings"] = "table"
    paper: str | None = Field(None, description="file of reported numbers, e.g. table5")
    base: dict[str, Any] = Field(default_factory=dict, description="overrides that all rows share")
    columns: tuple[ColumnSpec, ...] = ()
    rows: tuple[RowSpec, ...] = Field((), description="readings: made from models and readings, not given")
    models: tuple[RowSpec, ...] = Field((), description="readings: what is trained under each of them")
    readings: tuple[ReadingSpec, ...] = Field((), description="readings: the ways to read what is open")
    contrasts: tuple[ContrastSpec, ...] = Field((), description="readings: what is asked under each of them")
    datasets: tuple[str, ...] = Field((), description="statistics: the data sets counted")
    axes: AxesSpec | None = None
    seeds: int = Field(1, ge=1, description="runs per row; seed s adds s to the scale's seeds")
    compare_to: str | None = Field(
        None, description="the row that the others are compared to; null: the first one without overrides"
    )
    notes: tuple[str, ...] = Field((), description="shown under the table")
    scales: tuple[str, ...] = Field(
        (),
        description="scales that make it as part of the whole, beside those that list it; none: any that has its jobs makes it "
        "when it is asked for by name",
    )

    @model_validator(mode="after")
    def _rows_of_readings(self) -> AblationSpec:
        """Make the rows of a readings ablation: every model under every reading."""
        given = bool(self.models or self.readings or self.contrasts)
        if self.kind != "readings":
            if given:
                raise ValueError("models, readings and contrasts belong to kind readings, and only to it")
            return self
        if not (self.models and self.readings and self.contrasts):
            raise ValueError("kind readings needs models, readings and contrasts")
        models = tuple(model.key for model in self.models)
        check_readings(models, self.readings, self.contrasts, {column.key for column in self.columns})
        rows = tuple(
            model.model_copy(
                update={
                    "key": row_of(model.key, reading.key),
                    "label": f"{model.label}, {reading.label}",
                    # The reading first, so that a reading cannot switch on what a model switches off.
                    "set": {**reading.set, **model.set, **reading.models.get(model.key, {})},
                }
            )
            for reading in self.readings
            for model in self.models
        )
        if self.rows and self.rows != rows:
            raise ValueError("kind readings makes its rows from models and readings: give none")
        object.__setattr__(self, "rows", rows)
        return self

    @model_validator(mode="after")
    def _consistent(self) -> AblationSpec:
        check_names([self.name, *self.datasets, *([self.paper] if self.paper else [])], "ablation")
        for what, keys in (("row", [r.key for r in self.rows]), ("column", [c.key for c in self.columns])):
            twice = sorted({key for key in keys if keys.count(key) > 1})
            if twice:
                raise ValueError(f"{what} key given twice: {', '.join(twice)}")
        known = {column.key for column in self.columns}
        for row in self.rows:
            unknown = set(row.columns or ()) - known
            if unknown:
                raise ValueError(
                    f"row '{row.key}' shows columns that are not listed: {', '.join(sorted(unknown))}"
                )
        if self.compare_to is not None and self.compare_to not in [row.key for row in self.rows]:
            raise ValueError(f"compare_to: there is no row '{self.compare_to}'")
        if self.kind == "statistics":
            if not self.datasets or self.rows:
                raise ValueError("kind statistics has datasets and no rows")
        elif not (self.rows and self.columns):
            raise ValueError(f"kind {self.kind} needs rows and columns")
        if (self.kind == "figure") != (self.axes is not None):
            raise ValueError("axes belong to kind figure, and only to it")
        return self

    @property
    def base_row(self) -> str:
        """Return the key of the row that the others are compared to; '' if there are no rows."""
        if self.kind == "readings":  # the first model that changes nothing, under the first reading
            first = [model.key for model in self.models if not model.set] + [self.models[0].key]
            return self.compare_to or row_of(first[0], self.readings[0].key)
        plain = [row.key for row in self.rows if not row.set] + [row.key for row in self.rows]
        return self.compare_to or (plain[0] if plain else "")

    @property
    def drawn(self) -> bool:
        """True if its page has a drawing."""
        return self.kind in ("figure", "readings")

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Suffixes of its page's files, the Markdown page first."""
        return ("md", "csv", "tex") + (("png", "svg") if self.drawn else ())


def read_ablation(name: str, ablations: Path) -> AblationSpec:
    """Read ``ablations/NAME.yaml``.

    Raises:
        SpecError: no such file or a wrong setting, with file, key and nearest valid name.
    """
    path = ablations / f"{name}.yaml"
    return build(AblationSpec, load_yaml(path) | {"name": name}, str(path))
