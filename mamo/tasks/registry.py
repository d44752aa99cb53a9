"""Make a downstream job's task from its spec."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.jobs.registry import JOBS
from mamo.model.mamo import Mamo
from mamo.specs.finetune import FinetuneSpec, JobSpec
from mamo.tasks.task import DownstreamTask

# Task -> where its class is; imported where it is used: a job loads the code of its own task alone.
CLASSES = {
    "retrieval": "mamo.tasks.retrieval:RetrievalTask",
    "grounding": "mamo.tasks.grounding:GroundingTask",
    "nlvr2": "mamo.tasks.nlvr2:Nlvr2Task",
    "vqa": "mamo.tasks.vqa:VqaTask",
    "localisation": "mamo.tasks.localisation:LocalisationTask",
}


def read_spec(values: Mapping[str, Any]) -> JobSpec:
    """Read a job's spec from its plain values; ``task`` names its kind."""
    return TypeAdapter(FinetuneSpec).validate_python(dict(values))


def task_class(spec: JobSpec) -> type[DownstreamTask]:
    """Return the class of the task that a spec describes."""
    name = next(job.task for job in JOBS.values() if type(spec) is job.spec)
    module, _, attribute = CLASSES[name].partition(":")
    class_ = getattr(import_module(module), attribute)
    assert issubclass(class_, DownstreamTask)
    return class_


def make_task(
    network: Mamo, spec: JobSpec, tokenizer: Tokenizer, data: Prepared, world: Path | None = None
) -> DownstreamTask:
    """Make the task of a spec around a network that already has the job's resolution.

    Args:
        data: the job's first data set, from which VQA takes its candidate answers.
        world: the world run's ``release``, where the data come from it; localisation reads the true boxes there.

    Raises:
        PreparedError: localisation on data whose boxes are not known.
    """
    return task_class(spec).build(network, spec, tokenizer, data, world)
