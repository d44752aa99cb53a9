"""What a run's checks found, as its record holds it: light, since a workflow's short jobs say it too."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

Finding = dict[str, Any]


def finding(name: str, passed: bool, says: str, **numbers: Any) -> Finding:
    """One check's result as a record holds it."""
    return {"check": name, "passed": passed, "says": says, "numbers": _plain(numbers)}


def _plain(value: Any) -> Any:
    """JSON knows no number that is not finite."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def warned(checks: list[Finding]) -> list[Finding]:
    """Those that did not pass."""
    return [check for check in checks if not check["passed"]]


def tell(run: str, checks: list[Finding]) -> None:
    """Say in the log what is wrong."""
    for check in warned(checks):
        print(f"WARNING: {run}: {check['check']}: {check['says']}", file=sys.stderr, flush=True)
