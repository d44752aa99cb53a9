"""The deviations ledger as data: what the paper leaves open, what is done here, and where in the code it acts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.finetune import FinetuneSpec
from mamo.specs.overrides import build, load_yaml
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import DatasetSpec, Scale
from mamo.specs.weights import WeightsSpec

SOURCE = Path("docs/deviations.yaml")
# Names of parts, which are no settings of their own.
STRUCTURE = {"task"}


class Deviation(Spec):
    """One open point."""

    point: str
    here: str = Field(description="what is done here")
    settings: tuple[str, ...] = Field(
        (), description="dotted settings of a scale; none: fixed in code, or rows"
    )
    rows: str | None = Field(None, description="the ablation file whose rows settle it")
    acts_in: tuple[str, ...] = Field((), description="file:name, where it acts")
    source: str = Field(description="where the choice comes from")

    @model_validator(mode="after")
    def _acts_somewhere(self) -> Deviation:
        if not (self.acts_in or self.rows):
            raise ValueError(f"'{self.point}' acts nowhere: give acts_in or rows")
        return self


class Section(Spec):
    """Open points of one kind."""

    title: str
    entries: tuple[Deviation, ...]
    after: str | None = Field(None, description="a sentence under the table")


class Given(Spec):
    """Settings that the paper gives in one place."""

    place: str
    settings: tuple[str, ...]


class Own(Spec):
    """Settings that the paper has no counterpart of."""

    why: str
    settings: tuple[str, ...]


class Deviations(Spec):
    """The content of ``docs/deviations.yaml``."""

    sections: tuple[Section, ...]
    not_built: tuple[str, ...]
    given: tuple[Given, ...]
    own: tuple[Own, ...]

    @property
    def entries(self) -> list[Deviation]:
        """The open points of all sections."""
        return [entry for section in self.sections for entry in section.entries]

    @property
    def settings(self) -> list[str]:
        """Every setting that is named anywhere."""
        parts: list[Deviation | Given | Own] = [*self.entries, *self.given, *self.own]
        return [setting for part in parts for setting in part.settings]


def read_deviations(path: Path = SOURCE) -> Deviations:
    """Read the ledger.

    Raises:
        SpecError: a wrong entry, with file, key and nearest valid name.
    """
    deviations: Deviations = build(Deviations, load_yaml(path), str(path))
    return deviations


def problems(deviations: Deviations, scale: Scale, root: Path) -> list[str]:
    """What no longer holds of the ledger, one line per problem.

    Args:
        scale: the paper's, whose values it shows.
        root: the project's folder.

    Settings that do not exist; places that are gone; settings that no place of their entry mentions; and fields of the specs
    that the ledger does not know.
    """
    found = []
    for setting in deviations.settings:
        if not owners(setting, scale):
            found.append(f"there is no setting {setting}")
    for entry in deviations.entries:
        texts = []
        for place in entry.acts_in:
            text = source_of(place, root)
            if text is None:
                found.append(f"'{entry.point}': {place} is not there")
            texts.append(text or "")
        for setting in entry.settings:
            leaf = setting.rsplit(".", 1)[-1]
            if not any(re.search(rf"\b{leaf}\b", text) for text in texts):
                found.append(f"'{entry.point}': {setting} acts in none of {', '.join(entry.acts_in)}")
        if entry.rows and not (root / entry.rows).is_file():
            found.append(f"'{entry.point}': {entry.rows} is not there")
    known = {owner for setting in deviations.settings for owner in owners(setting, scale)}
    for model, field in fields():
        if (model, field) not in known:
            found.append(
                f"{model}.{field} is in no entry: say in {SOURCE} whether the paper gives it, leaves it open or has none"
            )
    return found


def source_of(place: str, root: Path) -> str | None:
    """The source text of ``file:name`` or ``file:Class.method``; None where it is not there."""
    file, _, name = place.partition(":")
    path = root / file
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    nodes: list[ast.AST] = [ast.parse(text)]
    for part in name.split("."):
        nodes = [
            child
            for node in nodes
            for child in ast.iter_child_nodes(node)
            if isinstance(child, ast.FunctionDef | ast.ClassDef) and child.name == part
        ]
    return ast.get_source_segment(text, nodes[0]) if nodes else None


def owners(setting: str, scale: Scale) -> set[tuple[str, str]]:
    """The (spec, field) that a dotted setting of a scale leads to; none where it leads nowhere."""
    section, *rest = setting.split(".")
    models: list[type[BaseModel]]
    if section == "jobs":
        job = scale.jobs.get(rest.pop(0)) if rest else None
        models = [type(job)] if job else []
    elif setting.startswith("data.datasets."):
        models, rest = ([DatasetSpec] if rest[1] in scale.data.datasets else []), rest[2:]
    else:
        models = _models(Scale.model_fields[section].annotation) if section in Scale.model_fields else []
    found: set[tuple[str, str]] = set()
    for part in rest:
        found = {(_definer(model, part), part) for model in models if part in model.model_fields}
        models = [
            child
            for model in models
            if part in model.model_fields
            for child in _models(model.model_fields[part].annotation)
        ]
    # A section (an optional one, such as a training) counts by its own name.
    return found


def fields() -> Iterator[tuple[str, str]]:
    """(spec, field) of every setting of pre-training, jobs, starting weights and data sets."""
    pending: list[type[BaseModel]] = [PretrainSpec, WeightsSpec, DatasetSpec, *_models(FinetuneSpec)]
    seen: set[tuple[str, str]] = set()
    while pending:
        model = pending.pop()
        for name, field in model.model_fields.items():
            children = _models(field.annotation)
            if model in (WeightsSpec,) or name == "training":
                # Where starting weights come from is one choice; how stand-ins are trained belongs to it.
                children = [child for child in children if name != "training"]
            pending += children
            if not children and name not in STRUCTURE:
                key = (_definer(model, name), name)
                if key not in seen:
                    seen.add(key)
                    yield key


def value_of(setting: str, scale: Scale) -> Any:
    """A setting's value at a scale, as a plain JSON value; ``off`` within a section that is switched off."""
    value: Any = scale.model_dump(mode="json")
    for part in setting.split("."):
        if value is None:
            return "off"
        value = value[part]
    return value


def _definer(model: type[BaseModel], name: str) -> str:
    """The spec that defines a field of a model: the model, or the one that it inherits it from."""
    return next(
        (base for base in reversed(model.__mro__) if name in getattr(base, "__annotations__", {})), model
    ).__name__


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in _models(argument)]
