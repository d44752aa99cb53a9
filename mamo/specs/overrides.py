"""Dotted overrides on nested mappings, checked against the schema, with the nearest valid name on a typo."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, TypeAdapter, ValidationError

from mamo.specs.identity import SpecValues
from mamo.specs.names import nearest

M = TypeVar("M")
_BYTES = 4 << 20  # bytes of a settings file; the largest one here has some 20 kB
_VALUES = 100_000  # values of a settings file, with its aliases expanded


class SpecError(ValueError):
    """A wrong setting; the message says where it is, what is wrong and the nearest valid name."""


class _UniqueLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, list | dict):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping from a YAML file; errors name the file."""
    try:
        if path.stat().st_size > _BYTES:
            raise SpecError(f"{path}: has more than {_BYTES >> 20} MiB, which no settings file needs")
        value = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=_UniqueLoader)
        size = _expanded_size(value, {})
    except FileNotFoundError:
        others = [other.stem for other in path.parent.glob(f"*{path.suffix}")]
        hint = nearest(path.stem, others) if others else ""
        raise SpecError(f"{path}: no such file{hint}") from None
    except SpecError:
        raise
    except RecursionError:
        raise SpecError(f"{path}: not readable as YAML: nested too deeply") from None
    except (
        OSError,
        yaml.YAMLError,
        ValueError,
    ) as error:  # ValueError: of UTF-8, of dates and of very long numbers
        raise SpecError(f"{path}: not readable as YAML: {str(error)[:1000]}") from None
    if size > _VALUES:
        raise SpecError(f"{path}: its aliases unfold to {size:.3g} values: refused as a bomb")
    if not isinstance(value, dict):
        raise SpecError(f"{path}: expected a mapping at the top, found {type(value).__name__}")
    return value


def _expanded_size(value: Any, known: dict[int, int | None]) -> int:
    """Count values with every alias expanded.

    Raises:
        ValueError: an alias is inside of what it names.
    """
    if not isinstance(value, dict | list | tuple | set):
        return 1
    size = known.setdefault(id(value), None) if id(value) in known else 0
    if size is None:
        raise ValueError("an alias is inside of what it names")
    if not size:
        known[id(value)] = None
        inner = value.values() if isinstance(value, dict) else value
        size = known[id(value)] = 1 + sum(_expanded_size(part, known) for part in inner)
    return size


def merge(base: SpecValues, changes: SpecValues) -> dict[str, Any]:
    """Lay ``changes`` over ``base``, merging mappings key by key."""
    merged = copy.deepcopy(dict(base))
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def apply(base: SpecValues, overrides: SpecValues, where: str) -> dict[str, Any]:
    """Apply dotted ``overrides`` to ``base``, e.g. ``{"objectives.mrm": None, "masking.image_ratio": 0.5}``.

    Raises:
        SpecError: a dotted path passes through something that is not a section.
    """
    result = copy.deepcopy(dict(base))
    for dotted, value in overrides.items():
        *parents, leaf = dotted.split(".")
        section: Any = result
        for depth, name in enumerate(parents):
            if name not in section:
                raise SpecError(f"{where}: unknown key '{dotted}'{nearest(name, section)}")
            if section[name] is None:
                off = ".".join(parents[: depth + 1])
                raise SpecError(
                    f"{where}: '{dotted}' sets a part of '{off}', which is switched off in the base"
                )
            section = section[name]
            if not isinstance(section, dict):
                raise SpecError(
                    f"{where}: '{'.'.join(parents[: depth + 1])}' is a value, so '{dotted}' names nothing"
                )
        if leaf not in section:
            raise SpecError(f"{where}: unknown key '{dotted}'{nearest(leaf, section)}")
        section[leaf] = copy.deepcopy(value)
    return result


def build(schema: Any, values: SpecValues, where: str) -> Any:
    """Build a ``schema`` object (a pydantic model or annotated union) from ``values``.

    Raises:
        SpecError: naming the place ``where``, each wrong key, and the nearest valid name of an unknown one.
    """
    try:
        return TypeAdapter(schema).validate_python(dict(values))
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            path = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] == "extra_forbidden":
                known = _fields_at(schema, problem["loc"][:-1])
                message = f"unknown key{nearest(str(problem['loc'][-1]), known) if known else ''}"
            lines.append(f"{where}: {path + ': ' if path else ''}{message}")
        raise SpecError("\n".join(lines)) from None


def _fields_at(schema: Any, location: tuple[int | str, ...]) -> dict[str, Any]:
    """Return the known field names of the nested model that ``location`` leads to (all nested ones if unclear)."""
    models: list[type[BaseModel]] = models_of(schema)
    for part in location:
        fields = [model.model_fields[str(part)] for model in models if str(part) in model.model_fields]
        nested = [model for field in fields for model in models_of(field.annotation)]
        models = nested or models
    return {name: None for model in models for name in model.model_fields}


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """Return every pydantic model named in an annotation such as ``MimSpec | None`` or ``dict[str, JobSpec]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in getattr(annotation, "__args__", ()) for model in models_of(argument)]
