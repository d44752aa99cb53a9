"""Measure what the workflow costs beside its jobs: start-ups and idle cores of a past run, runs saved by sharing, the graph.

python -m benchmarks pipeline
python -m benchmarks.pipeline LOG [LOG ...]    of these runs of Snakemake; their records are looked for beside .snakemake
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from benchmarks.measure import Result
from mamo.specs.plan import make_plan
from mamo.specs.seeds import read_seeds

ROOT = Path(__file__).parents[1]
ABLATIONS = ROOT / "ablations"
SHARED = ("table5", "table6", "table7", "table8", "table9", "figure6")
SEEDS = (5, 10)
_TIME = re.compile(r"^\[(\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4})\]$")
_RECORD = re.compile(r"results/(\S+/record\.json)")


@dataclass
class Job:
    """A job of a run of Snakemake: when it ran by the clock, and the record that it made, if any."""

    began: float
    ended: float | None = None
    record: str | None = None


@dataclass
class Made:
    """The jobs of one run of Snakemake."""

    seconds: float
    cores: int
    jobs: list[Job]

    @property
    def offered(self) -> float:
        """Core-seconds."""
        return self.seconds * self.cores


def read_log(path: Path) -> Made:
    """Read a log of Snakemake.

    Raises:
        ValueError: the run is not at its end, or failed.
    """
    jobs: dict[str, Job] = {}
    now = 0.0
    cores, seconds, last = 1, None, None
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"  Date: (.+)", line):
            now = datetime.fromisoformat(match[1]).timestamp()
        elif match := re.match(r"Provided cores: (\d+)", line):
            cores = int(match[1])
        elif match := _TIME.match(line):
            now = datetime.strptime(match[1], "%a %b %d %H:%M:%S %Y").timestamp()
        elif match := re.match(r"Job (\d+):", line):
            last = jobs[match[1]] = Job(now)
        elif line.startswith("Reason:") and last is not None:
            made = _RECORD.search(line.split(";")[0])
            last.record = made[1] if made and "Missing output" in line else None
        elif match := re.match(r"Finished jobid: (\d+)", line):
            jobs[match[1]].ended = now
        elif match := re.match(r"Elapsed time: (?:(\d+) days?, )?(\d+):(\d+):([\d.]+)", line):
            days, hours, minutes, rest = (float(part or 0) for part in match.groups())
            seconds = ((days * 24 + hours) * 60 + minutes) * 60 + rest
    if seconds is None:
        raise ValueError(f"{path}: this run of Snakemake is not at its end, or failed")
    return Made(seconds, cores, list(jobs.values()))


def accounts(made: Made, results: Path) -> dict[str, float]:
    """Core-seconds that the cores offered: ``jobs`` at their work, ``starting`` them (a process, imports, Snakemake's own
    wait), ``idle`` (no job for a core). Work is what records say of themselves; of jobs without a record (pages, figures) it is
    all the time they took."""
    work = starting = 0.0
    for job in made.jobs:
        if job.ended is None:
            continue
        took, inside = job.ended - job.began, job.ended - job.began
        record = results / job.record if job.record else None
        if record and record.is_file():
            provenance = json.loads(record.read_text(encoding="utf-8"))["provenance"]
            inside = min(took, provenance["wall_seconds"])
        work, starting = work + inside, starting + took - inside
    return {"jobs": work, "starting": starting, "idle": made.offered - work - starting}


def main(logs: list[Path]) -> None:
    """Measure and write."""
    result = Result("pipeline", "The workflow")
    for log in logs:
        try:
            made = read_log(log)
        except ValueError as error:
            result.note(str(error))
            continue
        shares = accounts(made, log.parents[2] / "results")
        result.row(
            "Where the cores' time went",
            **{
                "run": log.name.partition(".")[0],
                "jobs": len(made.jobs),
                "cores": made.cores,
                "minutes": made.seconds / 60,
                "work, percent": 100 * shares["jobs"] / made.offered,
                "starting jobs, percent": 100 * shares["starting"] / made.offered,
                "idle, percent": 100 * shares["idle"] / made.offered,
            },
        )
    _sharing(result)
    _graph(result)
    result.write()


def _sharing(result: Result) -> None:
    for scale in ("demo", "paper"):
        for words, names in (("Tables 5-9 and Figure 6", SHARED), ("all", None)):
            plan = make_plan(scale, ABLATIONS, only=list(names) if names else None)
            kinds = ("pretrain", "finetune")
            trained = sum(run.kind in kinds for run in plan.runs.values())
            closures = [plan.closure(table.inputs) for table in plan.tables.values()]
            alone = sum(plan.runs[key].kind in kinds for keys in closures for key in keys)
            result.row(
                "Sharing",
                scale=scale,
                of=words,
                **{
                    "jobs": len(plan.runs),
                    "if each table ran alone": plan.requested,
                    "times as many": plan.requested / len(plan.runs),
                    "trainings": trained,
                    "alone": alone,
                    "times as many trainings": alone / trained,
                },
            )


def _graph(result: Result) -> None:
    """Snakemake's whole dry run of scale ``paper`` with several seeds, in a project without results."""
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder)
        for name in ("workflow", "profiles", "ablations", "notebooks"):
            shutil.copytree(ROOT / name, project / name)
        for name in ("Snakefile", "params.yaml"):
            shutil.copy(ROOT / name, project / name)
        folders = ("results=results", "reports=reports", "releases=releases")
        for seeds, program in [
            (seeds, program) for seeds in SEEDS for program in ("mamo plan", "snakemake -n")
        ]:
            jobs = len(make_plan("paper", ABLATIONS, seeds=read_seeds(str(seeds))).runs)
            config = ["--config", "scale=paper", f"seeds={seeds}", *folders]
            if program == "mamo plan":
                command = ["mamo.cli", "plan", "--scale", "paper", "--seeds", str(seeds)]
            else:
                command = ["snakemake", "-n", "--quiet", "rules", "--cores", "1", *config]
            clock, before = time.perf_counter(), _children()
            done = subprocess.run(
                [sys.executable, "-m", *command],
                cwd=project,
                env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(project / "cache")},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            seconds = {
                "CPU seconds": _children() - before,
                "seconds by the clock": time.perf_counter() - clock,
            }
            if done.returncode:
                raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
            total = re.search(r"^total\s+(\d+)", done.stdout, re.MULTILINE)
            result.row(
                "The graph of scale paper",
                seeds=seeds,
                command=program,
                runs=jobs,
                **{"jobs of Snakemake": int(total[1]) if total else "", **seconds},
            )


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _known_logs() -> list[Path]:
    """The largest log of each scale that was made here: usually that of everything."""
    return sorted((ROOT / ".snakemake" / "log").glob("*.log"), key=lambda p: p.stat().st_size)[-1:]


if __name__ == "__main__":
    main([Path(word) for word in sys.argv[1:]] or _known_logs())
