"""What runs leave on disk for one another, read so that a damaged file is named and never taken for a whole one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STATUSES = ("converged", "diverged", "skipped")


class StoredError(ValueError):
    """A file of a run that is damaged, or is not what its name says; the text names file, reason and mend."""


def read_object(
    path: Path, mend: str = "delete it and call the command again, which makes it anew"
) -> dict[str, Any]:
    """A JSON file that holds one object.

    Raises:
        FileNotFoundError: there is no such file.
        StoredError: it cannot be read, or holds something else.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError:
        raise StoredError(f"{path}: nested too deeply to be read; {mend}") from None
    except (OSError, ValueError) as error:  # of the file, of UTF-8, of JSON
        raise StoredError(f"{path}: cannot be read ({error}); {mend}") from error
    if not isinstance(values, dict):
        raise StoredError(f"{path}: holds a {type(values).__name__}, not an object; {mend}")
    return values


def read_record_file(path: Path) -> dict[str, Any]:
    """A run's record.

    Raises:
        FileNotFoundError: there is none.
        StoredError: it is damaged, says no outcome, holds a metric that is no number, or is the record of another run.
    """
    mend = (
        "delete it and call the same command again; where the run's own copy of it is whole, that is put back, and nothing is "
        "computed"
    )
    record = read_object(path, mend)
    check_record(record, path, path.parent.name, mend)
    return record


def check_record(record: Mapping[str, Any], path: Path, run: str, mend: str) -> None:
    """Check that an object has the form of a run's record.

    Args:
        path: named in errors.
        run: the identity of the run that it should be the record of.

    Raises:
        StoredError: as :func:`read_record_file`.
    """
    outcome, metrics = record.get("outcome"), record.get("metrics", {})
    if not isinstance(outcome, dict) or outcome.get("status") not in STATUSES:
        raise StoredError(f"{path}: says no outcome ({', '.join(STATUSES)}); {mend}")
    if not isinstance(metrics, dict):
        raise StoredError(f"{path}: 'metrics' is no object; {mend}")
    for name, value in metrics.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise StoredError(f"{path}: metric '{name}' is {str(value)[:60]!r}, not a number; {mend}")
    for section in ("spec", "inputs", "details", "provenance"):
        if not isinstance(record.get(section, {}), dict):
            raise StoredError(f"{path}: '{section}' is no object; {mend}")
    if record.get("run", run) != run:
        raise StoredError(f"{path}: is the record of another run, {str(record['run'])[:100]}; {mend}")
