"""Keep a workflow on a cluster from losing its jobs while SLURM's controller does not answer.

Snakemake's SLURM executor (2.8.0) forgets its jobs, and waits for ever, if it cannot ask for their states five times in a
row; and it takes a submission that reaches no controller for a failed job, of which there are only so many. Here the jobs stay
known, and submissions wait. docs/slurm-executor-report.md is the report to its authors; without that fault, this does nothing.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

POLL_SECONDS = 10.0


def keep_every_job(executor: type[Any], answers: Callable[[], bool] | None = None) -> None:
    """Patch an executor's class so that every job handed to a status check comes out of it, as active or as ended.

    Args:
        executor: the class, changed in place, once.
        answers: tells whether the controller answers.
    """
    if getattr(executor, "guarded", False):
        return
    executor.guarded = True
    is_reachable = answers or controller_answers
    check = executor.check_active_jobs

    async def check_active_jobs(self: Any, active_jobs: list[Any]) -> AsyncIterator[Any]:
        self.ended_jobs = set()
        seen = set()
        async for job in check(self, active_jobs):
            seen.add(id(job))
            yield job
        lost = [job for job in active_jobs if id(job) not in seen | self.ended_jobs]
        if lost:
            self.logger.warning(
                f"SLURM does not report the state of {len(lost)} jobs: they are kept, and SLURM is asked again."
            )
        for job in lost:
            yield job

    executor.check_active_jobs = check_active_jobs
    for name in ("report_job_success", "report_job_error"):
        setattr(executor, name, _noting(getattr(executor, name)))
    executor.cancel = _without_waiting(executor.cancel)
    for name in ("run_job", "run_array_jobs"):
        if hasattr(executor, name):
            setattr(executor, name, _waiting(getattr(executor, name), is_reachable))


def _without_waiting(cancel: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap cancelling, so that the end of the workflow does not wait for a submission that itself waits."""

    def ended(self: Any) -> Any:
        self.ending = True
        return cancel(self)

    return ended


def controller_answers() -> bool:
    """Check that SLURM's controller or its backup is up; True if there is no command to ask with."""
    try:
        pinged = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60)
    except FileNotFoundError:
        return True
    except subprocess.TimeoutExpired:
        return False
    return "DOWN" not in pinged.stdout or "UP" in pinged.stdout


def _noting(report: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap the report of a job's end so that the check knows of it."""

    def noted(self: Any, job: Any, *given: Any, **named: Any) -> Any:
        if hasattr(self, "ended_jobs"):
            self.ended_jobs.add(id(job))
        return report(self, job, *given, **named)

    return noted


def _waiting(submit: Callable[..., Any], answers: Callable[[], bool]) -> Callable[..., Any]:
    """Wrap submitting so that it waits for the controller."""

    def waited(self: Any, *given: Any) -> Any:
        reported = False
        while not answers():
            if not reported:
                self.logger.warning("SLURM's controller does not answer: jobs are submitted when it does.")
                reported = True
            if getattr(self, "ending", False):
                break
            time.sleep(POLL_SECONDS)
        return submit(self, *given)

    return waited
