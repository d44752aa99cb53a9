"""Being asked to stop: a command tells what it has started, once, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from workflow_bench import ROOT, Bench

from mamo.cli.slurm_watchdog import keep_every_job
from mamo.training.interruption import exit_on_signal, handled_signals

CHILD = """
import signal, time
from pathlib import Path
def told(number, frame):
    with Path("told").open("a") as file: print(signal.Signals(number).name, file=file)
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT): signal.signal(number, told)
Path("ready").touch()
end = time.monotonic() + 120
while not Path("told").exists() and time.monotonic() < end: time.sleep(0.05)
time.sleep(0.5)
"""
PARENT = """
import sys
from mamo.cli.children import call
sys.exit(call([sys.executable, "-c", sys.argv[1]]))
"""
MAMO = (sys.executable, "-m", "mamo.cli")


def until(path: Path) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.05)


def command(folder: Path, ignored: int | None = None) -> subprocess.Popen[bytes]:
    """A command that waits for its child, which has begun."""
    ignore = (lambda: signal.signal(ignored, signal.SIG_IGN)) if ignored else None
    words = [sys.executable, "-c", PARENT, CHILD]
    process = subprocess.Popen(words, cwd=folder, env={"PYTHONPATH": str(ROOT)}, preexec_fn=ignore)
    until(folder / "ready")
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_is_passed_on_once_and_named_by_the_status(tmp_path: Path, number: signal.Signals) -> None:
    process = command(tmp_path)
    for _ in range(3):
        process.send_signal(number)
        time.sleep(0.05)
    assert process.wait(timeout=60) == 128 + number
    assert (tmp_path / "told").read_text() == f"{number.name}\n"


def test_a_signal_that_the_caller_ignores_stops_nothing(tmp_path: Path) -> None:
    process = command(tmp_path, ignored=signal.SIGINT)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None and not (tmp_path / "told").exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_a_child_hears_of_the_end_of_a_killed_parent(tmp_path: Path) -> None:
    process = command(tmp_path)
    (child,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    until(tmp_path / "told")
    assert (tmp_path / "told").read_text() == "SIGINT\n"
    child.wait(timeout=60)


def test_a_run_heeds_no_signal_that_its_caller_ignores() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert signal.SIGINT not in handled_signals() and signal.SIGTERM in handled_signals()
        with exit_on_signal():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def project(tmp_path: Path) -> Bench:
    """A project whose reproduction stops in its first world until it is released."""
    bench = Bench.create(tmp_path)
    bench.variables |= {"MAMO_TEST_HOLDS": "world-*", "SNAKEMAKE_PROFILE": "workflow/profiles/default"}
    return bench


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL])
def test_a_stopped_reproduction_leaves_no_process_and_no_lock(project: Bench, number: signal.Signals) -> None:
    process = project.start(*MAMO, "reproduce", "first")
    project.held("data/world")
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(number)
    output, _ = process.communicate(timeout=240)
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number, output
        assert f"Stopped by {number.name}" in output and "17 runs" not in output.split("Stopped")[0], output
    _, left = psutil.wait_procs(started, timeout=120)
    assert not left, [one.cmdline() for one in left]
    assert not list((project.folder / ".snakemake" / "locks").glob("*"))
    project.release()


class Executor:
    """Stands for Snakemake's SLURM executor: yields what it is told to."""

    def __init__(self, yielded: list[Any], ended: list[Any]) -> None:
        self.yielded, self.ended = yielded, ended
        self.logger = SimpleNamespace(warning=lambda text: None)
        self.submitted: list[Any] = []

    async def check_active_jobs(self, active_jobs: list[Any]) -> AsyncIterator[Any]:
        for job in self.ended:
            self.report_job_success(job)
        for job in self.yielded:
            yield job

    def report_job_success(self, job: Any) -> None:
        """Stand in for Snakemake's method."""

    def report_job_error(self, job: Any) -> None:
        """Stand in for Snakemake's method."""

    def run_job(self, job: Any) -> None:
        """Stand in for Snakemake's method."""
        self.submitted.append(job)

    def cancel(self) -> None:
        """Stand in for Snakemake's method."""


def test_a_job_of_which_nothing_is_known_stays_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mamo.cli.slurm_watchdog.POLL_SECONDS", 0.01)
    answers = iter([False, False, True])
    kind = type("Guarded", (Executor,), {})
    keep_every_job(kind, lambda: next(answers))
    keep_every_job(kind, lambda: pytest.fail("guarded twice"))
    active, ended, lost = (SimpleNamespace(name=name) for name in ("active", "ended", "lost"))

    async def check(executor: Any) -> list[Any]:
        return [job async for job in executor.check_active_jobs([active, ended, lost])]

    assert asyncio.run(check(kind([active], [ended]))) == [active, lost]
    assert asyncio.run(check(kind([], []))) == [active, ended, lost], "as while no query is answered"
    executor: Any = kind([], [])
    executor.run_job("job")
    assert executor.submitted == ["job"] and next(answers, None) is None, "once the controller answered"


def test_the_executor_is_what_the_watchdog_takes_it_for() -> None:
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    for name in (
        "check_active_jobs",
        "report_job_success",
        "report_job_error",
        "run_job",
        "run_array_jobs",
        "cancel",
    ):
        assert callable(getattr(plugin.Executor, name))
