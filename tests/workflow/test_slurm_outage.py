"""SLURM's controller is silent for more than a minute while jobs are in flight: the head keeps them, and makes everything."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from cluster_project import STEPS, ClusterProject
from slurm_cluster import cluster, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
pytest.importorskip("snakemake_executor_plugin_slurm")

OUTAGE_SECONDS = 75
TABLES = {"silent": ("retrieval_coco", {"row": "masking.image_ratio: 0.5"})}
SMALL = {"MAMO_PRETRAIN_CPUS": "2", "MAMO_PRETRAIN_MEM_MB": "4000"}


def test_a_silent_controller_costs_no_job(tmp_path: Path) -> None:
    with cluster(tmp_path / "cluster") as slurm:
        project = ClusterProject(tmp_path / "project", slurm, SMALL)
        project.create(TABLES)
        project.prepare()
        run = project.run("silent", "row")
        project.slow(run)
        head = project.start("silent")
        try:
            project.reaches(run, 0, seconds=400)
            slurm.stop_controller()
            time.sleep(OUTAGE_SECONDS)
            assert head.poll() is None
            slurm.start_controller()
            project.quick(run)
            assert head.wait(timeout=400) == 0, (project.folder / "head-1.log").read_text()[-3000:]
        finally:
            project.close()
        assert "they are kept" in (project.folder / "head-1.log").read_text()
        assert [note["step"] for note in project.steps(run)] == list(range(STEPS))
        assert [job["JobState"] for job in project.jobs(run)] == ["COMPLETED"]
        assert len(slurm.jobs()) == 2, "one pre-training and one fine-tuning"
        assert (project.folder / "reports" / "tiny" / "silent.md").is_file()
