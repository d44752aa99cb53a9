"""Which of the runs' own checks a table's rows miss."""

from __future__ import annotations

from mamo.reporting.values import TableValues
from mamo.specs.ablation import AblationSpec


def missed_checks(ablation: AblationSpec, values: TableValues) -> list[str]:
    """List the rows that miss checks, a text for each: ``MAMO: re-ranking (1 of 5 runs)``; empty where all are met."""
    found: dict[str, list[str]] = {}
    for line in values.missed:
        runs = f"{line.missed} of {line.runs} runs" if line.runs > 1 else "its one run"
        found.setdefault(line.row, []).append(f"{line.check} ({runs})")
    return [f"{row.label}: {', '.join(found[row.key])}" for row in ablation.rows if row.key in found]
