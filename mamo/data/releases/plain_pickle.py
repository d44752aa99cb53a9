"""Pickles from elsewhere, read without running their code: lists, tuples, dicts by text, numbers and texts only."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from mamo.data import archives
from mamo.data.examples import FormatError

MAX_VALUES = 10_000_000  # RefCOCO+'s refs hold some three million
MAX_DEPTH = 100
_TEXT = 16  # characters that count as one value

_PLAIN = (
    "PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWFALSE NEWTRUE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT "
    "STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE BINUNICODE8 SHORT_BINUNICODE BINBYTES BINBYTES8 SHORT_BINBYTES "
    "EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST LIST APPEND APPENDS EMPTY_DICT DICT SETITEM SETITEMS "
    "GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE"
).split()
_KEYED = ("DICT", "SETITEM", "SETITEMS")
_OPCODES = [
    n for n in pickle.__all__ if isinstance(getattr(pickle, n), bytes) and len(getattr(pickle, n)) == 1
]


def _code(name: str) -> int:
    return int(getattr(pickle, name)[0])


def _refuse(name: str) -> Callable[[Any], None]:
    def refuse(_: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"it uses {name}, and only plain data is accepted")

    return refuse


def _with_texts_as_keys(name: str) -> Callable[[Any], None]:
    """The opcode that enters keys and values into a dict; keys that are no texts could be made slow to hash or to compare."""
    enter: Callable[[Any], None] = pickle._Unpickler.dispatch[_code(name)]

    def checked(unpickler: Any) -> None:
        keys = unpickler.stack[-2:-1] if name == "SETITEM" else unpickler.stack[::2]
        if not all(isinstance(key, str) for key in keys):
            raise pickle.UnpicklingError("a dict has a key that is not text")
        enter(unpickler)

    return checked


class _PlainUnpickler(pickle._Unpickler):
    """Unpickler that knows the opcodes of plain data and refuses all others by name.

    It is Python's own implementation, not the one in C, which takes gigabytes for a large number in five bytes (LONG_BINPUT).
    """

    dispatch = {
        **{_code(name): _refuse(name) for name in _OPCODES},
        **{_code(name): pickle._Unpickler.dispatch[_code(name)] for name in _PLAIN},
        **{_code(name): _with_texts_as_keys(name) for name in _KEYED},
    }


def load_plain(path: Path, fix: str) -> Any:
    """Load a pickle of plain data, unpacked or in a zip archive; byte strings of Python 2 are read as UTF-8.

    Raises:
        FormatError: the file is missing, damaged, holds anything but plain data, or unfolds to more than ``MAX_VALUES`` values
            where one list stands in many places.
    """
    try:
        content = io.BytesIO(archives.read_bytes(path))
        found = _PlainUnpickler(content, encoding="utf-8", errors="replace").load()
        if _unfolded(found, {}, 0) > MAX_VALUES:
            raise ValueError(f"it unfolds to more than {MAX_VALUES:,} values")
        return found
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; {fix}") from error
    except OSError as error:
        raise FormatError(f"{path}: {error}") from error
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
        OverflowError,
        MemoryError,  # a length in the file, taken at its word
        RecursionError,
        struct.error,
    ) as error:
        raise FormatError(f"{path}: refused as a pickle ({error}); {fix}") from error


def _unfolded(value: Any, known: dict[int, int], depth: int) -> int:
    """Count values, and a shared container once for every place in which it occurs.

    Args:
        known: the counts of containers that were met before, by their ``id``.
    """
    if isinstance(value, str | bytes):
        return 1 + len(value) // _TEXT
    if not isinstance(value, list | tuple | dict):
        return 1
    if id(value) not in known:
        if depth > MAX_DEPTH:
            raise ValueError(f"lists and dicts are nested more than {MAX_DEPTH} deep, or one contains itself")
        inner = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_unfolded(part, known, depth + 1) for part in inner)
    return known[id(value)]
