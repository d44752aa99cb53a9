"""From a downstream job's spec to its task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mamo.data.batches.transforms import EvalTransform
from mamo.data.releases import candidates
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.tokenizer import Tokenizer
from mamo.model.mamo import Mamo
from mamo.specs.finetune import (
    FinetuneSpec,
    GroundingSpec,
    JobSpec,
    LocalisationSpec,
    Nlvr2Spec,
    RetrievalSpec,
    VqaSpec,
)
from mamo.tasks.task import DownstreamTask


def read_spec(values: Mapping[str, Any]) -> JobSpec:
    """A job's spec from its plain values; ``task`` names its kind."""
    return TypeAdapter(FinetuneSpec).validate_python(dict(values))


def make_task(
    network: Mamo, spec: JobSpec, tokenizer: Tokenizer, data: Prepared, world: Path | None = None
) -> DownstreamTask:
    """The task of a spec around a network that already has the job's resolution.

    Args:
        data: the job's first data set, from which VQA takes its candidate answers.
        world: the world run's ``release``, where the data come from it; localisation reads the true boxes there.

    Raises:
        PreparedError: localisation on data whose boxes are not known.
    """
    transform = EvalTransform(spec.transform)
    if isinstance(spec, RetrievalSpec):
        from mamo.tasks.retrieval import RetrievalTask

        return RetrievalTask(network, spec, tokenizer, transform)
    if isinstance(spec, GroundingSpec):
        from mamo.tasks.grounding import GroundingTask

        return GroundingTask(network, spec, tokenizer, transform)
    if isinstance(spec, Nlvr2Spec):
        from mamo.tasks.nlvr2 import Nlvr2Task

        return Nlvr2Task(network, spec, tokenizer, transform)
    if isinstance(spec, VqaSpec):
        from mamo.tasks.vqa import VqaTask

        return VqaTask(network, spec, tokenizer, transform, candidates.read(data.path, spec.min_answer_count))
    if isinstance(spec, LocalisationSpec):
        from mamo.data.world.truth import SceneTruth
        from mamo.tasks.localisation import LocalisationTask

        if world is None:
            raise PreparedError(
                f"{data.path}: localisation needs the true boxes of the embedded world, and these data do not come from it"
            )
        return LocalisationTask(network, spec, tokenizer, transform, SceneTruth(world, data.dataset))
    raise TypeError(f"no task for {type(spec).__name__}")
