"""Two drivers at once on one checkout: the second is refused in clear words, and nothing is executed twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from workflow_bench import Bench

pytest.importorskip("snakemake")
pytestmark = pytest.mark.slow

MAMO = (sys.executable, "-m", "mamo.cli")
SNAKEMAKE = (sys.executable, "-m", "snakemake", "--cores", "2")


@pytest.fixture
def project(tmp_path: Path) -> Bench:
    """A project whose reproduction stops in its first world until it is released."""
    bench = Bench.create(tmp_path)
    profile = {
        "SNAKEMAKE_PROFILE": "workflow/profiles/default"
    }  # named: no process is warmed up for stand-ins
    bench.variables |= {"MAMO_TEST_HOLDS": "world-*", **profile}
    return bench


@pytest.fixture(params=["snakemake", "mamo reproduce"])
def first(request: pytest.FixtureRequest, project: Bench) -> Iterator[subprocess.Popen[str]]:
    """The first driver, in the middle of its work."""
    words = (
        (*MAMO, "reproduce", "first") if request.param == "mamo reproduce" else (*SNAKEMAKE, "--", "first")
    )
    process = project.start(*words)
    try:
        project.held("data/world")
        yield process
    finally:
        project.release()
        process.wait(timeout=240)


def test_a_second_driver_is_refused(project: Bench, first: subprocess.Popen[str]) -> None:
    log = project.folder / "logs" / "small" / "snakemake.log"
    ours = log.is_file()
    before = log.read_bytes() if ours else b""
    snakemake = project.call(*SNAKEMAKE, "--", "first")
    assert snakemake.returncode == 1 and "cannot be locked" in snakemake.stdout, snakemake.stdout
    reproduce = project.call(*MAMO, "reproduce", "first")
    assert reproduce.returncode == 1, reproduce.stdout
    if ours:
        assert "another `mamo reproduce` works in this folder at scale small (" in reproduce.stdout
        assert f"process {first.pid}, since" in reproduce.stdout
        assert log.read_bytes().startswith(before), "its log is left alone"
    else:
        assert (
            f"another Snakemake works in this folder at scale small (process {first.pid};" in reproduce.stdout
        )
        assert "--unlock" not in reproduce.stdout
    project.release()
    output, _ = first.communicate(timeout=240)
    assert first.returncode == 0, output
    assert len(set(project.executed)) == len(project.executed) > 10
    assert (project.folder / "reports" / "small" / "first.md").is_file()
    again = project.call(*MAMO, "reproduce", "first")
    assert again.returncode == 0 and "Nothing to do" in again.stdout


def test_a_page_from_the_future_is_still_made_anew(tmp_path: Path) -> None:
    """A clock that was ahead leaves pages and values that seem newer than everything that follows."""
    project = Bench.create(tmp_path)
    assert project.snakemake("--", "first").returncode == 0
    later = time.time() + 1e7
    for place in ("results", "reports"):
        for path in (project.folder / place).rglob("*"):
            if path.is_file():
                os.utime(path, (later, later))
    page = project.folder / "reports" / "small" / "first.md"
    before = page.read_text()
    project.write_table("first", "objectives.mim: null")
    done = project.snakemake("--", "first")
    assert done.returncode == 0, done.stdout
    assert "no_mim" in page.read_text() and page.read_text() != before
    assert "Nothing to be done" in project.snakemake("--", "first").stdout
