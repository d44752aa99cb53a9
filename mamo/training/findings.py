"""Results of a run's checks, as in its record. Imports little, since short jobs of a workflow use it too."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from mamo.files.record import Check


def check(name: str, passed: bool, says: str, **numbers: Any) -> Check:
    """Make one check's result, with numbers that JSON can hold."""
    return Check(name=name, passed=passed, says=says, numbers=_json_numbers(numbers))


def _json_numbers(value: Any) -> Any:
    """Replace numbers that are not finite, which JSON cannot express, by None."""
    if isinstance(value, Mapping):
        return {key: _json_numbers(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warned(checks: Iterable[Check]) -> list[Check]:
    """Return the checks that did not pass."""
    return [result for result in checks if not result.passed]


def log_warnings(run: str, checks: Iterable[Check]) -> None:
    """Log the failed checks as warnings."""
    for failed in warned(checks):
        print(f"WARNING: {run}: {failed.name}: {failed.says}", file=sys.stderr, flush=True)
