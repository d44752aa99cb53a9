"""One day on a cluster: every fault that a workflow can meet there, on a real SLURM, through its executor, with real runs.

The fixture lives through the day; the tests look at what is left of it. Each training notes every step that it makes: nothing
was lost, and nothing made twice, exactly if each step stands once in the notes.
"""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from cluster_project import STEPS, ClusterProject
from slurm_cluster import cluster, missing

from mamo.specs.identity import Run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
pytest.importorskip("snakemake_executor_plugin_slurm")

# A save takes longer than SLURM takes to kill what does not hold on to its time.
SAVING_SECONDS = 4
TABLES = {
    "orphans": (
        "retrieval_coco",
        {"left": "masking.image_ratio: 0.5", "cancelled": "masking.image_ratio: 0.6"},
    ),
    "faults": (
        "retrieval_coco",
        {
            "cancelled": "masking.image_ratio: 0.6",
            "requeued": "masking.image_ratio: 0.7",
            "limited": "masking.image_ratio: 0.8",
        },
    ),
}
PAIR = {
    "pair": ("retrieval_coco", {"requeued": "masking.image_ratio: 0.5", "diverging": "optimiser.lr: 1.0e+30"})
}
SMALL = {"MAMO_PRETRAIN_GPUS": "1", "MAMO_PRETRAIN_CPUS": "2", "MAMO_PRETRAIN_MEM_MB": "4000"}


@dataclass
class Day:
    """What is left of it.

    Attributes:
        one: the project whose pre-trainings take one node, and whose head is killed.
        two: the one whose pre-trainings take two nodes.
        waited: what the logs of the jobs said that the second head submitted for runs of the first.
        orphans: row -> the job that the killed head left.
        ended: the exit codes of the heads that came to their end.
    """

    one: ClusterProject
    two: ClusterProject
    waited: dict[str, str] = field(default_factory=dict)
    orphans: dict[str, str] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)

    def live(self) -> None:
        """Drive the faults; those of different runs side by side."""
        one, two, slurm = self.one, self.two, self.one.slurm
        left, cancelled = (one.run("orphans", row) for row in ("left", "cancelled"))
        requeued, limited = (one.run("faults", row) for row in ("requeued", "limited"))
        paired = two.run("pair", "requeued")
        for run in (left, cancelled, requeued, limited):
            one.slow(run)
        two.slow(paired)

        first, other = one.start("orphans"), two.start(*PAIR)
        for run, row in ((left, "left"), (cancelled, "cancelled")):
            self.orphans[row] = one.reaches(run, 0)
        first.kill()
        first.wait()
        one.call("snakemake", "--profile", "slurm", "--unlock")
        second = one.start(*TABLES)
        slurm.call("scontrol", "requeue", two.reaches(paired, 1))

        job = one.reaches(limited, 1)
        slurm.call("scontrol", "update", f"JobId={job}", "TimeLimit=1")
        for run, row in ((left, "left"), (cancelled, "cancelled")):
            self.waited[row] = one.says(run, "waiting for")
        one.quick(left)
        slurm.call("scancel", self.orphans["cancelled"])
        slurm.call("scontrol", "requeue", one.reaches(requeued, 1))

        (taker,) = (job["JobId"] for job in one.jobs(cancelled) if job["JobId"] not in self.orphans.values())
        one.reaches(cancelled, 1, taker)
        slurm.call("scancel", taker)
        for project, run in ((one, requeued), (two, paired)):
            project.shows(run, Restarts="1")
            project.quick(run)
        one.shows(cancelled, -1, JobState="CANCELLED")
        one.quick(cancelled)
        one.shows(limited, JobState="TIMEOUT")
        one.quick(limited)
        self.ended = [head.wait(timeout=400) for head in (second, other)]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    folder = tmp_path_factory.mktemp("day")
    with cluster(folder / "cluster", cpus=64) as slurm:
        one = ClusterProject(folder / "one", slurm, SMALL)
        two = ClusterProject(folder / "two", slurm, SMALL | {"MAMO_PRETRAIN_NODES": "2"})
        for project, tables in ((one, TABLES), (two, PAIR)):
            project.create(tables)
            (project.folder / "saving").write_text(str(SAVING_SECONDS))
        one.prepare()
        shutil.copytree(one.results, two.results)
        # No weights can be stored where a folder is in their way, so this run fails every time.
        in_the_way = one.run("orphans", "left", "finetune").directory(one.results) / "model.safetensors"
        (in_the_way / "kept").mkdir(parents=True)
        made = Day(one, two)
        try:
            made.live()
            yield made
        finally:
            one.close()
            two.close()


def states(project: ClusterProject, run: Run) -> list[str]:
    """Return how a run's jobs ended, in the order of their submission."""
    return [job["JobState"] for job in project.jobs(run)]


def makers(project: ClusterProject, run: Run, rank: int = 0) -> list[str]:
    """The jobs whose processes made a training's steps, a job once for each process; every step was made once."""
    steps = project.steps(run, rank)
    assert [note["step"] for note in steps] == list(range(len(steps))), "each step once"
    return [job for (job, _), _ in itertools.groupby(steps, lambda note: (note["job"], note["process"]))]


def record(project: ClusterProject, run: Run) -> dict[str, dict[str, str]]:
    """A run's record."""
    stored: dict[str, dict[str, str]] = json.loads(run.record(project.results).read_text())
    return stored


def test_a_requeued_pre_training_goes_on_at_its_step_in_the_same_job(day: Day) -> None:
    run = day.one.run("faults", "requeued")
    (job,) = day.one.jobs(run)
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert makers(day.one, run) == [job["JobId"]] * 2 and len(day.one.steps(run)) == STEPS


def test_a_restarted_head_submits_jobs_that_wait_for_those_of_the_killed_one(day: Day) -> None:
    for row, orphan in day.orphans.items():
        assert f"held (job {orphan} on " in day.waited[row]


def test_a_job_that_waited_finds_the_run_made(day: Day) -> None:
    run = day.one.run("orphans", "left")
    assert states(day.one, run) == ["COMPLETED", "COMPLETED"]
    assert makers(day.one, run) == [day.orphans["left"]] and len(day.one.steps(run)) == STEPS


def test_a_job_that_waited_takes_over_and_a_cancelled_one_is_submitted_again(day: Day) -> None:
    run = day.one.run("orphans", "cancelled")
    jobs = [job["JobId"] for job in day.one.jobs(run)]
    assert states(day.one, run) == ["CANCELLED", "CANCELLED", "COMPLETED"]
    assert makers(day.one, run) == jobs and len(day.one.steps(run)) == STEPS


def test_a_job_at_its_time_limit_is_submitted_again_and_goes_on_at_its_step(day: Day) -> None:
    run = day.one.run("faults", "limited")
    jobs = [job["JobId"] for job in day.one.jobs(run)]
    assert states(day.one, run) == ["TIMEOUT", "COMPLETED"]
    assert makers(day.one, run) == jobs and len(day.one.steps(run)) == STEPS


def test_a_fine_tuning_that_cannot_succeed_is_submitted_three_times(day: Day) -> None:
    run = day.one.run("orphans", "left", "finetune")
    assert states(day.one, run) == ["FAILED"] * 3
    assert not run.record(day.one.results).exists()
    assert not (day.one.folder / "reports" / "tiny" / "orphans.md").exists()


def test_a_pre_training_that_diverges_on_two_nodes_is_recorded_and_never_tried_again(day: Day) -> None:
    run = day.two.run("pair", "diverging")
    (job,) = day.two.jobs(run)
    assert (job["JobState"], job["NumNodes"]) == ("COMPLETED", "2")
    assert record(day.two, run)["outcome"]["status"] == "diverged"
    assert all(makers(day.two, run, rank) == [job["JobId"]] for rank in (0, 1))
    assert record(day.two, day.two.run("pair", "diverging", "finetune"))["outcome"]["status"] == "skipped"


def test_ranks_of_two_nodes_save_together_and_go_on_at_their_step(day: Day) -> None:
    run = day.two.run("pair", "requeued")
    (job,) = day.two.jobs(run)
    assert (job["JobState"], job["Restarts"], job["NumNodes"]) == ("COMPLETED", "1", "2")
    for rank in (0, 1):
        assert makers(day.two, run, rank) == [job["JobId"]] * 2
        assert len(day.two.steps(run, rank)) == STEPS


def test_every_step_stands_once_in_the_curves(day: Day) -> None:
    for project in (day.one, day.two):
        for run in project.plan.by_kind("pretrain"):
            with (run.directory(project.results) / "curve.csv").open() as file:
                steps = [int(row["step"]) for row in csv.DictReader(file)]
            assert steps == list(range(len(steps)))
            diverged = record(project, run)["outcome"]["status"] == "diverged"
            assert diverged or len(steps) == STEPS


def test_no_run_is_made_twice_at_once(day: Day) -> None:
    for project in (day.one, day.two):
        for run in project.plan.runs.values():
            for rank in (0, 1):
                steps = project.steps(run, rank)
                assert [note["time"] for note in steps] == sorted(note["time"] for note in steps)
                processes = [process for process, _ in itertools.groupby(steps, lambda note: note["process"])]
                assert len(processes) == len(set(processes)), "no process makes a step after another has"


def test_the_tables_stand_and_nothing_more_was_submitted(day: Day) -> None:
    assert day.ended == [1, 0], "one fine-tuning cannot succeed"
    for project, name in ((day.one, "faults"), (day.two, "pair")):
        text = (project.folder / "reports" / "tiny" / f"{name}.md").read_text()
        assert all(row in text for row in project.plan.tables[name].pretrainings)
    # Pre-trainings: 2 + 3 + 1 + 2 on one node, 1 + 1 on two. Fine-tunings: 3 of the one that fails, 3 and 2 of the others.
    assert len(day.one.slurm.jobs()) == 10 + 8
    assert {job["JobState"] for job in day.one.slurm.jobs()} <= {
        "COMPLETED",
        "CANCELLED",
        "TIMEOUT",
        "FAILED",
    }
