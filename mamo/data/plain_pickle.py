"""Pickles from elsewhere, read without running their code: containers, numbers and strings only."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, NoReturn

from mamo.data import archives
from mamo.data.examples import FormatError


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every class and function; lists, tuples, dicts, sets, numbers and strings need none of them."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, and only plain data is accepted")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"it refers to {pid!r} outside of it, and only plain data is accepted")


def load_plain(path: Path, mend: str) -> Any:
    """Load a pickle of plain data, unpacked or in a zip archive; byte strings of Python 2 are read as UTF-8.

    Raises:
        FormatError: the file is missing, damaged, or holds anything but plain data.
    """
    try:
        content = io.BytesIO(archives.read_bytes(path))
        return _PlainUnpickler(content, encoding="utf-8", errors="replace").load()
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; {mend}") from error
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
    ) as error:
        raise FormatError(f"{path}: refused ({error}); {mend}") from error
