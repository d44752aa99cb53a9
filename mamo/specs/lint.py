"""List what the rows of an ablation change, from the specs that they resolve to.

A table that names one change and makes two shows nothing. So its page and ``mamo dev lint`` print, row by row, each setting in
which the row's pre-training differs from the base row's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mamo.specs.identity import SpecValues, changes
from mamo.specs.plan import Plan, TablePlan


def row_changes(plan: Plan, table: TablePlan) -> dict[str, list[str]]:
    """Return the changes of each row against the base row: row -> lines such as ``objectives.mrm.predictor: true → false``."""
    ablation = table.ablation
    if not ablation.rows:
        return {}
    base = plan.runs[table.pretrainings[ablation.base_row][0]].spec
    own = {row.key: plan.runs[table.pretrainings[row.key][0]].spec for row in ablation.rows}
    return {
        row: [_line(name, _at(base, name), value) for name, value in changes(base, spec).items()]
        for row, spec in own.items()
    }


def twins(table: TablePlan) -> list[tuple[str, str]]:
    """Return rows of one series that are the same run as an earlier one: (row, the earlier one)."""
    seen: dict[tuple[str, str | None], str] = {}
    rows = table.ablation.rows if table.ablation.kind != "readings" else ()  # readings may come to the same
    first = [
        (row.key, seen.setdefault((table.pretrainings[row.key][0], row.series), row.key)) for row in rows
    ]
    return [(row, earlier) for row, earlier in first if row != earlier]


def _at(spec: SpecValues, dotted: str) -> Any:
    value: Any = spec
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _line(name: str, old: Any, new: Any) -> str:
    # A section that is switched off: what it held says nothing.
    return f"{name} → {_text(new)}" if isinstance(old, Mapping) else f"{name}: {_text(old)} → {_text(new)}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
