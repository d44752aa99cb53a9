"""Every downstream task has its entry of facts, and one without it is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from mamo.cost.runs import Costs
from mamo.jobs.registry import JOBS
from mamo.specs.finetune import FinetuneSpec
from mamo.specs.plan import make_plan
from mamo.tasks.registry import CLASSES, task_class
from mamo.tasks.task import DownstreamTask

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def test_every_task_of_the_specs_has_its_facts_and_its_class() -> None:
    specs = get_args(get_args(FinetuneSpec)[0])
    assert {spec.model_fields["task"].default for spec in specs} == set(JOBS) == set(CLASSES)
    for spec in specs:
        job = JOBS[spec.model_fields["task"].default]
        assert job.spec is spec and set(job.settings) <= set(spec.model_fields)
        assert issubclass(task_class(spec.model_construct()), DownstreamTask)


def test_a_job_that_nobody_costed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table3"])
    assert all(Costs(plan, tmp_path).runs[run.key].flops > 0 for run in plan.by_kind("finetune"))
    monkeypatch.delitem(JOBS, "nlvr2")
    with pytest.raises(KeyError, match="no job is registered for the task 'nlvr2'"):
        _ = Costs(plan, tmp_path).runs


def test_the_facts_load_no_torch() -> None:
    code = "import sys, mamo.jobs.registry, mamo.cost.runs; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
