"""All kinds of downstream jobs."""

from __future__ import annotations

from typing import Any

from mamo.jobs.grounding import GroundingJob
from mamo.jobs.job import Job
from mamo.jobs.localisation import LocalisationJob
from mamo.jobs.nlvr2 import Nlvr2Job
from mamo.jobs.retrieval import RetrievalJob
from mamo.jobs.vqa import VqaJob

JOBS: dict[str, Job[Any]] = {
    job.task: job for job in (RetrievalJob(), VqaJob(), Nlvr2Job(), GroundingJob(), LocalisationJob())
}


def job_of(task: str) -> Job[Any]:
    """Return the job of a task's name.

    Raises:
        KeyError: nothing is known of such a task; it must not pass for one that costs nothing.
    """
    if task not in JOBS:
        raise KeyError(f"no job is registered for the task '{task}': enter it in mamo/jobs/registry.py")
    return JOBS[task]
