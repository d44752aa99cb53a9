"""A small project beside the real one: the real Snakefile over two small tables, with a stand-in that executes no run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Executes nothing: writes a run's record and notes that it was asked to. `mamo report` and `mamo site` are the real ones.
STAND_IN = r"""#!/bin/sh
if [ "$1" = report ] || [ "$1" = site ]; then exec "{python}" -m mamo.cli "$@"; fi
kind=$1; if [ "$kind" = prepare ]; then kind=data; fi
shift
while [ $# -gt 1 ]; do
    case "$1" in --wait) shift; continue;; --scale) scale=$2;; --results) results=$2;; esac
    shift 2
done
echo "$kind/$1" >> executed
case "$1" in $MAMO_TEST_HOLDS) while [ ! -e release ]; do sleep 0.1; done;; esac
case "$1" in $MAMO_TEST_FAILS) echo "no space left on the disk"; exit 1;; esac
directory=$results/$scale/$kind/$1
mkdir -p "$directory"
status=converged
case "$1" in $MAMO_TEST_DIVERGES) status=diverged;; esac
echo '{{"outcome": {{"status": "'$status'", "reason": null}}, "metrics": {{"tr_r1": 40.0, "chance/tr_r1": 2.0}}}}' \
    > "$directory/record.json"
"""

TABLE = """\
title: {name}
question: What?
hypothesis: That.
cost: Little.
base: {{schedule.epochs: 10}}
columns:
  - {{key: tr, label: TR, job: retrieval_flickr30k, metric: tr_r1}}
rows:
  - {{key: full, label: MAMO}}
  - key: other
    label: changed
    set: {{{change}}}
"""


@dataclass
class Bench:
    """A project folder with its own ablations: tables ``first`` and ``second``, which share the row ``full``."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path) -> Bench:
        """Lay the project out."""
        for name in ("workflow", "profiles", "Snakefile"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)
            else:
                shutil.copy(source, folder / name)
        (folder / "slurm").symlink_to("workflow/profiles/slurm")
        (folder / "ablations" / "scales").mkdir(parents=True)
        for scale in ("paper", "smoke"):
            shutil.copy(ROOT / "ablations" / "scales" / f"{scale}.yaml", folder / "ablations" / "scales")
        (folder / "ablations" / "scales" / "small.yaml").write_text(
            "extends: smoke\nablations: [first, second]\nfigures: []\n"
        )
        (folder / "params.yaml").write_text(
            "{scale: small, releases: null, results: results, reports: reports, seeds: null}\n"
        )
        (folder / "bin").mkdir()
        (folder / "bin" / "mamo").write_text(STAND_IN.format(python=sys.executable))
        (folder / "bin" / "mamo").chmod(0o755)
        bench = cls(folder)
        bench.write_table("first", "objectives.mrm: null")
        bench.write_table("second", "masking.image_ratio: 0.5")
        return bench

    def write_table(self, name: str, change: str) -> None:
        """Write ``ablations/NAME.yaml``, whose row ``other`` has ``change``."""
        (self.folder / "ablations" / f"{name}.yaml").write_text(TABLE.format(name=name, change=change))

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of a command in the project."""
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "MAMO_TEST_FAILS": "none",
            "MAMO_TEST_DIVERGES": "none",
            "MAMO_TEST_HOLDS": "none",
        }
        return environment | self.variables

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the project, with the stand-in first on the path."""
        process = self.start(*words)
        try:
            output, _ = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(words, process.returncode, output)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command beside others; see :meth:`call`."""
        return subprocess.Popen(
            words,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def held(self, pattern: str) -> None:
        """Wait until a run whose line in ``executed`` holds a pattern has begun (see ``MAMO_TEST_HOLDS``)."""
        path, end = self.folder / "executed", time.monotonic() + 240
        while not (path.is_file() and pattern in path.read_text()):
            assert time.monotonic() < end, f"no {pattern} in {path}"
            time.sleep(0.05)

    def release(self) -> None:
        """Let the runs go on that are held."""
        (self.folder / "release").touch()

    def snakemake(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Snakemake, and forget which runs were executed before."""
        (self.folder / "executed").unlink(missing_ok=True)
        return self.call(sys.executable, "-m", "snakemake", "--cores", "2", *words)

    @property
    def executed(self) -> list[str]:
        """The runs executed since the last call of Snakemake, sorted, without their digests."""
        path = self.folder / "executed"
        return (
            sorted(line.rsplit("-", 1)[0] for line in path.read_text().splitlines()) if path.is_file() else []
        )
