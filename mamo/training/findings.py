"""Results of a run's checks, as in its record. Imports little, since short jobs of a workflow use it too."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

Finding = dict[str, Any]


def finding(name: str, passed: bool, says: str, **numbers: Any) -> Finding:
    """Make one check's result in the form of a record."""
    return {"check": name, "passed": passed, "says": says, "numbers": _plain(numbers)}


def _plain(value: Any) -> Any:
    """Replace numbers that are not finite, which JSON cannot express."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warned(checks: list[Finding]) -> list[Finding]:
    """Return the checks that did not pass."""
    return [check for check in checks if not check["passed"]]


def tell(run: str, checks: list[Finding]) -> None:
    """Log the failed checks as warnings."""
    for check in warned(checks):
        print(f"WARNING: {run}: {check['check']}: {check['says']}", file=sys.stderr, flush=True)
