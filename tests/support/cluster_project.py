"""A small project with real runs on the loopback cluster, in which trainings can be made slow (:mod:`slow_steps`)."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slow_steps import VARIABLE
from slurm_cluster import Cluster

from mamo.runs.execute import execute
from mamo.specs.identity import Run
from mamo.specs.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[2]
STEPS = 100  # of a pre-training, each a row of its curve
SCALE = f"""\
extends: smoke
ablations: [ABLATIONS]
figures: []
data: {{world: {{coco: {{train: 12, restval: 0, val: 4, test: 4, test2015: 1}}}}}}
pretrain:
  data: [coco]
  schedule: {{epochs: {STEPS}}}
  objectives: {{itm_group: 4}}                            # a rank's share on two nodes
"""
TABLE = """\
title: {name}
question: What?
hypothesis: That.
cost: Little.
base: {{}}
columns:
  - {{key: tr, label: TR, job: {job}, metric: tr_r1}}
rows:
"""


def until(condition: Callable[[], Any], what: str, seconds: float = 240) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not in {seconds:.0f} seconds: {what}"
        time.sleep(0.2)


@dataclass
class ClusterProject:
    """A folder with its own tables; its runs are executed by ``snakemake --profile slurm``.

    Attributes:
        variables: of the environment of every command.
    """

    folder: Path
    slurm: Cluster
    variables: dict[str, str] = field(default_factory=dict)
    heads: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def create(self, tables: dict[str, tuple[str, dict[str, str]]]) -> None:
        """Lay the project out.

        Args:
            tables: name -> its column's job, and its rows: key -> what is set.
        """
        self.folder.mkdir(exist_ok=True)
        for name in ("workflow", "profiles"):
            shutil.copytree(ROOT / name, self.folder / name)
        shutil.copy(ROOT / "Snakefile", self.folder)
        (self.folder / "slurm").symlink_to("workflow/profiles/slurm")
        scales = self.folder / "ablations" / "scales"
        scales.mkdir(parents=True)
        for scale in ("paper", "smoke"):
            shutil.copy(ROOT / "ablations" / "scales" / f"{scale}.yaml", scales)
        (scales / "tiny.yaml").write_text(SCALE.replace("ABLATIONS", ", ".join(tables)))
        for name, (job, rows) in tables.items():
            lines = "".join(
                f"  - {{key: {key}, label: {key}, set: {{{given}}}}}\n" for key, given in rows.items()
            )
            (self.folder / "ablations" / f"{name}.yaml").write_text(TABLE.format(name=name, job=job) + lines)
        (self.folder / "params.yaml").write_text(
            "{scale: tiny, releases: null, results: results, reports: reports}\n"
        )
        for name in ("slow", "steps"):
            (self.folder / name).mkdir()
        (self.folder / "sitecustomize.py").write_text("import slow_steps\n")
        self.plan: Plan = make_plan("tiny", self.folder / "ablations", others=True)

    @property
    def results(self) -> Path:
        """Return the folder of the runs."""
        return self.folder / "results" / "tiny"

    def prepare(self) -> None:
        """Make data and starting weights, here."""
        for run in self.plan.runs.values():
            if run.kind in ("data", "weights"):
                execute(self.plan, run, self.results)

    def run(self, table: str, row: str, kind: str = "pretrain") -> Run:
        """The pre-training or the fine-tuning of a table's row."""
        actual = self.plan.tables[table]
        if kind == "pretrain":
            (key,) = actual.pretrainings[row]
        else:
            ((key,),) = (cell.runs for cell in actual.cells if cell.row == row)
        return self.plan.runs[key]

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a command in the project."""
        path = f"{Path(sys.executable).parent}:{self.slurm.environment['PATH']}"
        own = {
            "PATH": path,
            "PYTHONPATH": os.pathsep.join(map(str, (self.folder, ROOT / "tests" / "support", ROOT))),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            VARIABLE: str(self.folder),
        }
        return os.environ | self.slurm.environment | own | self.variables

    def start(self, *targets: str) -> subprocess.Popen[bytes]:
        """Start a head process, as a user does; its output goes to ``head-N.log``."""
        words = ["snakemake", "--profile", "slurm", "--slurm-init-seconds-before-status-checks", "1"]
        log = self.folder / f"head-{len(self.heads) + 1}.log"
        with log.open("wb") as file:
            head = subprocess.Popen(
                [*words, "--", *targets],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.heads.append(head)
        return head

    def call(self, *words: str) -> str:
        """The output of a command in the project, which must succeed."""
        done = subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def close(self) -> None:
        """End what is left of the heads."""
        for head in self.heads:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(head.pid, signal.SIGKILL)
            head.wait()

    def slow(self, run: Run) -> None:
        """Make a training's steps slow."""
        (self.folder / "slow" / run.id).touch()

    def quick(self, run: Run) -> None:
        """Let a training go on at its own speed."""
        (self.folder / "slow" / run.id).unlink()

    def steps(self, run: Run, rank: int = 0) -> list[dict[str, Any]]:
        """The steps that a rank of a training has made so far: of which job, by which process, when."""
        path = self.folder / "steps" / f"{run.kind}-{run.id}"
        notes = map(json.loads, path.read_text().splitlines()) if path.is_file() else ()
        return [note for note in notes if note["rank"] == rank]

    def reaches(self, run: Run, step: int, job: str | None = None, seconds: float = 240) -> str:
        """Wait until a training (of a job) has made a step; its job."""
        made: list[str] = []

        def reached() -> bool:
            made[:] = [note["job"] for note in self.steps(run) if note["step"] >= step]
            return bool(made) and job in (None, made[-1])

        until(reached, f"step {step} of {run.id} {job or ''}", seconds)
        return made[-1]

    def log(self, run: Run) -> str:
        """Return what a run's log says."""
        path = self.folder / "logs" / "tiny" / run.kind / f"{run.id}.log"
        return path.read_text(errors="replace") if path.is_file() else ""

    def jobs(self, run: Run) -> list[dict[str, str]]:
        """The SLURM jobs of a run so far, in the order of their submission; a fine-tuning's are those that it is packed in."""
        if run.kind == "finetune":
            name = f"rule_finetune-{self.plan.runs[run.inputs['init']].id}_finetune"
        else:
            name = f"rule_{run.kind}_wildcards_{run.id}"
        jobs = [
            job
            for job in self.slurm.jobs()
            if job.get("Comment") == name and job["WorkDir"] == str(self.folder)
        ]
        return sorted(jobs, key=lambda job: int(job["JobId"]))

    def shows(self, run: Run, place: int = 0, **values: str) -> None:
        """Wait until SLURM shows these values of a run's job: of its first, or of that at another place."""
        until(lambda: values.items() <= self.jobs(run)[place].items(), f"{values} of a job of {run.id}")

    def says(self, run: Run, words: str) -> str:
        """Wait until a run's log says something; the whole log."""
        until(lambda: words in self.log(run), f"'{words}' in the log of {run.id}")
        return self.log(run)
