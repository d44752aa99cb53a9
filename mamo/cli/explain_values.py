"""``mamo explain`` as plain values for ``--json``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mamo.cli.status import log_of, state_of
from mamo.files.record import Record
from mamo.reporting.pages import Page
from mamo.specs.identity import REVISIONS, Run, flatten
from mamo.specs.origin import origin

if TYPE_CHECKING:
    from pathlib import Path

    from mamo.cli.explain import Explainer


def run_values(explainer: Explainer, run: Run) -> dict[str, Any]:
    """Describe a run and those of its inputs that are not made."""
    needed = explainer.plan.closure([run.key]) - {run.key}
    lacking = [other for key, other in explainer.plan.runs.items() if key in needed]
    return _run(explainer, run) | {"needs": _to_do(explainer, lacking)}


def table_values(explainer: Explainer, page: Page, reports: Path) -> dict[str, Any]:
    """Describe a table: its page, and those of its runs that are not made."""
    table = (explainer.plan.tables | explainer.plan.others)[page.name]
    closure = explainer.plan.closure(table.inputs)
    runs = [run for key, run in explainer.plan.runs.items() if key in closure]
    exists = all((reports / file).is_file() for file in page.files)
    return {
        "table": page.name,
        "runs": len(runs),
        "page": {
            "file": str(reports / page.files[0]),
            "there": exists,
            "planned": page.id,
            "shown": page.shown(reports),
            "to_write": not exists or page.stale(reports),
        },
        "needs": _to_do(explainer, runs),
    }


def _to_do(explainer: Explainer, runs: list[Run]) -> list[dict[str, Any]]:
    return [_run(explainer, run) for run in runs if not run.record(explainer.results).is_file()]


def _run(explainer: Explainer, run: Run) -> dict[str, Any]:
    """Describe a run's state, and how the nearest recorded run differs from it."""
    done = run.record(explainer.results).is_file()
    log = log_of(run, explainer.logs)
    near = None if done else explainer.nearest(run)
    return {
        "run": run.key,
        "state": state_of(run, explainer.results, explainer.logs),
        "log": str(log) if log.is_file() else None,
        "nearest": _nearest(explainer, run, *near) if near else None,
    }


def _nearest(
    explainer: Explainer, run: Run, key: str, record: Record, spec: dict[str, Any]
) -> dict[str, Any]:
    from mamo.cli.explain import differing_inputs, value_at

    before = flatten(record.spec)
    now = REVISIONS[run.kind]
    then = now if record.revision is None else record.revision
    return {
        "run": key,
        "settings": [
            {
                "key": dotted,
                "before": before.get(dotted, value_at(record.spec, dotted)),
                "now": value,
                "from": origin(explainer.plan, run, dotted, explainer.ablations),
            }
            for dotted, value in spec.items()
        ],
        "revision": {"before": then, "now": now} if then != now else None,
        "inputs": [
            {"role": role, "before": old, "now": new} for role, old, new in differing_inputs(record, run)
        ],
    }
