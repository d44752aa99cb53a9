"""A trained model as the workbench leaves it."""

from __future__ import annotations

from pathlib import Path

import pytest
from trained import pretraining

from mamo.specs.identity import Run
from mamo.specs.plan import Plan, make_plan
from mamo.tasks.pretrain import PretrainTask

ABLATIONS = Path(__file__).parents[2] / "ablations"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS)


@pytest.fixture
def pretrained(plan: Plan, tmp_path: Path) -> tuple[Run, Path, PretrainTask]:
    """A pre-training of a tiny network, as the workbench leaves it, and the results in which it lies."""
    results = tmp_path / "results/smoke"
    run, task = pretraining(plan, results)
    return run, results, task
