"""Check the records of a release against their declared fields; an error names the file, the record and the field."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FiniteFloat,
    StringConstraints,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from mamo.data.examples import FormatError, read_json

T = TypeVar("T")

_INT64 = 1 << 63
_SHOWN = 60  # characters of a wrong value that a message shows
_SHOWN_BITS = 200


def stays_inside(name: str) -> bool:
    """Check that a relative path read from a file stays inside its folder."""
    parts = name.replace("\\", "/").split("/")
    return not (name.startswith(("/", "\\")) or ".." in parts or "\0" in name or re.match(r"[A-Za-z]:", name))


def _inside(name: str) -> str:
    if not stays_inside(name):
        raise PydanticCustomError("outside", "leads out of its folder")
    return name


def _no_switch(value: Any) -> Any:
    """Refuse true and false, which pydantic would read as 1 and 0."""
    if isinstance(value, bool):
        raise PydanticCustomError("switch", "should be a number")
    return value


# The fields that releases have. A number may also stand as a text of its digits. `str` alone is any text: `said` takes from it
# what can be used.
Whole = Annotated[int, BeforeValidator(_no_switch), Field(ge=-_INT64, lt=_INT64)]
Number = Annotated[FiniteFloat, BeforeValidator(_no_switch)]
Length = Annotated[Number, Field(ge=0)]
Box = tuple[Number, Number, Length, Length]  # left, top, width and height in pixels
# Whole characters, none of them NUL; the constraints also refuse halves of surrogate pairs.
Short = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00]*$")]
Name = Annotated[Short, StringConstraints(min_length=1)]
File = Annotated[Name, AfterValidator(_inside)]  # a path below a folder


class Records(Generic[T]):
    """The records of a list, checked one after the other; iterate once.

    Args:
        values: the list. It is emptied on the way, so that only what was asked of it stays in memory.
        kind: a dataclass that declares the fields of a record; others are passed over.
        path: the list's file.
        place: how messages name a record, e.g. ``images[{}]``.
        fix: what to do about a wrong one.

    Raises:
        FormatError: a record is not of that kind.
    """

    def __init__(self, values: list[Any], kind: type[T], path: Path, place: str, fix: str) -> None:
        self._values, self._kind, self._path, self._place, self._fix = values, kind, path, place, fix
        self._number = 0

    def __iter__(self) -> Iterator[T]:
        for number, value in enumerate(self._values):
            self._number, self._values[number] = number, None
            try:
                record = _validated(value, self._kind)
            except ValidationError as error:
                raise self.wrong(error) from None
            yield record

    def wrong(self, problem: str | ValidationError) -> FormatError:
        """An error about the record that was given last."""
        return _refusal(f"{self._path}: {self._place.format(self._number)}", problem, self._fix)


def check(value: Any, kind: type[T], place: str, fix: str) -> T:
    """Check one value.

    Args:
        kind: a dataclass that declares its fields, or another type.
        place: the file, and where in it the value is.
        fix: what to do about a wrong one.

    Raises:
        FormatError: it is not of that kind.
    """
    try:
        return _validated(value, kind)
    except ValidationError as error:
        raise _refusal(place, error, fix) from None


def document(path: Path, kind: type[T], fix: str) -> T:
    """Read a JSON file that holds one object.

    Raises:
        FormatError: the file is missing, or holds something else.
    """
    return check(read_json(path, fix), kind, str(path), fix)


def listing(path: Path, kind: type[T], fix: str) -> Records[T]:
    """The records of a JSON file that holds a list of them.

    Raises:
        FormatError: the file is missing, or holds something else, or none.
    """
    values = read_json(path, fix)
    if not isinstance(values, list) or not values:
        raise FormatError(f"{path}: is {_shown(values)}, not a list with records; {fix}")
    return Records(values, kind, path, "entry {}", fix)


def lists(path: Path, fix: str, **kinds: type[Any]) -> list[Records[Any]]:
    """The records of a JSON file that holds an object with lists of them.

    Args:
        kinds: name of each list -> what its records are.

    Raises:
        FormatError: the file is missing, or holds something else, or a list is not there or empty.
    """
    content = read_json(path, fix)
    if not isinstance(content, dict):
        raise FormatError(f"{path}: is {_shown(content)}, not an object; {fix}")
    found = []
    for name, kind in kinds.items():
        values = content.get(name)
        if not isinstance(values, list) or not values:
            raise FormatError(f"{path}: has no list '{name}', or an empty one; {fix}")
        found.append(Records(values, kind, path, name + "[{}]", fix))
    return found


def by_id(records: Records[T], name: str) -> dict[int, T]:
    """Records by their number.

    Args:
        name: the field that holds it.

    Raises:
        FormatError: a record is not of its kind, or two have the same number.
    """
    found: dict[int, T] = {}
    for record in records:
        number = getattr(record, name)
        if number in found:
            raise records.wrong(f"'{name}' {number} is given a second time")
        found[number] = record
    return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def _validated(value: Any, kind: Any) -> Any:
    return _adapter(kind).validate_python(value)


def _refusal(place: str, problem: str | ValidationError, fix: str) -> FormatError:
    if isinstance(problem, str):
        return FormatError(f"{place}: {problem}; {fix}")
    first = problem.errors(include_url=False, include_context=False)[0]
    where, value = list(first["loc"]), _shown(first["input"])
    if first["type"] == "missing":
        what = f"lacks '{where.pop()}'"
    elif first["type"] == "dataclass_type":
        what = f"is {value}, not an object"
    else:
        name = f"{where.pop()} " if where and isinstance(where[-1], str) else ""
        what = f"{name}{value}: {first['msg'].removeprefix('Input ')}"
    for step in where:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    return FormatError(f"{place}: {what}; {fix}")


def _shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, list | tuple | dict | set):
        return f"{type(value).__name__} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"int of {value.bit_length():,} bits"  # Python refuses to print very long numbers
    if isinstance(value, str | bytes):
        value = value[: _SHOWN + 1]
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
