"""Read the records of a release field by field; an error names the file, the record and the field."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mamo.data.examples import FormatError, read_json

_WHOLE = re.compile(r"[+-]?\d{1,19}")
_INT64 = 1 << 63
_NAME = 4096  # characters of a path, at most
_SHOWN = 60  # characters of a wrong value that a message shows
_SHOWN_BITS = 200


class Entry:
    """One JSON object of a release.

    Its place is put into words only when something is wrong with it, so that millions of entries cost little.

    Args:
        values: the object.
        above: the entry that holds it, or the file's path in words.
        name: its name in there, e.g. ``images`` and 3 for ``images[3]``; '' for the whole file.
        fix: what to do about a wrong one.
    """

    __slots__ = ("_above", "_name", "fix", "values")

    def __init__(self, values: Any, above: Entry | str, name: str | tuple[str, int], fix: str) -> None:
        self._above, self._name, self.fix = above, name, fix
        if not isinstance(values, Mapping):
            raise self.wrong(f"is {_kind(values)}, not an object")
        self.values = values

    @property
    def where(self) -> str:
        """File and record."""
        name = self._name if isinstance(self._name, str) else f"{self._name[0]}[{self._name[1]}]"
        if not isinstance(self._above, Entry):
            return f"{self._above}: {name}" if name else self._above
        return f"{self._above.where}{'.' if self._above._name else ': '}{name}"

    def wrong(self, problem: str) -> FormatError:
        """An error about this entry."""
        return FormatError(f"{self.where}: {problem}; {self.fix}")

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def value(self, name: str) -> Any:
        """A field as it is.

        Raises:
            FormatError: it is missing.
        """
        try:
            return self.values[name]
        except KeyError:
            raise self.wrong(f"lacks '{name}'") from None

    def text(self, name: str) -> str | None:
        """A field that holds a text, or null.

        Raises:
            FormatError: it is missing, or of another type.
        """
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(f"'{name}' is {_kind(value)}, not a text")
        return value

    def word(self, name: str) -> str:
        """A field that holds a name: a text that is neither empty nor longer than a path, of whole characters.

        Raises:
            FormatError: it is missing, empty, or of another type.
        """
        value = self.text(name)
        if not value:
            raise self.wrong(f"'{name}' is empty")
        if len(value) > _NAME or any("\ud800" <= c <= "\udfff" or c == "\0" for c in value):
            raise self.wrong(f"'{name}' is not a name: {_kind(value)}")
        return value

    def integer(self, name: str) -> int:
        """A field that holds a whole number of at most 64 bits, or the digits of one.

        Raises:
            FormatError: it is missing, or something else.
        """
        value = self.value(name)
        if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
            value = int(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
            raise self.wrong(f"'{name}' is {_kind(value)}, not a whole number")
        return value

    def number(self, name: str) -> float:
        """A field that holds a finite number.

        Raises:
            FormatError: it is missing, or something else.
        """
        return self._number(self.value(name), name)

    def box(self, name: str) -> tuple[float, float, float, float]:
        """A field that holds a box: left, top, width and height in pixels, all finite, the sizes not negative.

        Raises:
            FormatError: it is missing, or something else.
        """
        values = self.value(name)
        if not isinstance(values, list | tuple) or len(values) != 4:
            raise self.wrong(f"'{name}' is {_kind(values)}, not four numbers")
        x, y, width, height = (self._number(value, name) for value in values)
        if width < 0 or height < 0:
            raise self.wrong(f"'{name}' has the negative size {width:g} x {height:g}")
        return x, y, width, height

    def list(self, name: str) -> list[Any]:
        """A field that holds a list.

        Raises:
            FormatError: it is missing, or something else.
        """
        values = self.value(name)
        if not isinstance(values, list):
            raise self.wrong(f"'{name}' is {_kind(values)}, not a list")
        return values

    def entries(self, name: str) -> Iterator[Entry]:
        """The objects of a field that holds a list of them.

        Raises:
            FormatError: it is missing, or something else.
        """
        for number, value in enumerate(self.list(name)):
            yield Entry(value, self, (name, number), self.fix)

    def file(self, folder: Path, *names: str) -> Path:
        """The file that fields name, below a folder.

        Raises:
            FormatError: a field is missing, empty or no text, or the path leads out of the folder.
        """
        path = folder
        for name in names:
            word = self.word(name)
            if not stays_inside(word):
                raise self.wrong(f"'{name}' leads out of its folder: {word[:_SHOWN]!r}")
            path = path / word
        return path

    def _number(self, value: Any, name: str) -> float:
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not math.isfinite(found):
            raise self.wrong(f"'{name}' holds {_kind(value)}, not a finite number")
        return found


def document(path: Path, fix: str) -> Entry:
    """Read a JSON file that holds one object.

    Raises:
        FormatError: the file is missing, or holds something else.
    """
    return Entry(read_json(path, fix), str(path), "", fix)


def listing(path: Path, fix: str) -> Iterator[Entry]:
    """The objects of a JSON file that holds a list of them.

    Raises:
        FormatError: the file is missing, or holds something else.
    """
    values = read_json(path, fix)
    if not isinstance(values, list):
        raise FormatError(f"{path}: is {_kind(values)}, not a list; {fix}")
    if not values:
        raise FormatError(f"{path}: the list is empty; {fix}")
    for number, value in enumerate(values):
        yield Entry(value, str(path), f"entry {number}", fix)


def by_id(entries: Iterator[Entry], name: str) -> dict[int, Entry]:
    """Entries by their number.

    Raises:
        FormatError: an entry has none, or two have the same.
    """
    found: dict[int, Entry] = {}
    for entry in entries:
        number = entry.integer(name)
        if number in found:
            raise entry.wrong(f"'{name}' {number} is given a second time")
        found[number] = entry
    return found


def stays_inside(name: str) -> bool:
    """Check that a relative path read from a file stays inside its folder."""
    parts = name.replace("\\", "/").split("/")
    return not (name.startswith(("/", "\\")) or ".." in parts or "\0" in name or re.match(r"[A-Za-z]:", name))


def _kind(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, list | tuple | dict | set):
        return f"{type(value).__name__} of {len(value)}"
    if (
        isinstance(value, int) and value.bit_length() > _SHOWN_BITS
    ):  # Python refuses to print very long numbers
        return f"int of {value.bit_length():,} bits"
    if isinstance(value, str | bytes):
        value = value[: _SHOWN + 1]
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"
