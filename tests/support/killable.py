"""A small project whose commands are executed by a :class:`kill_server.Killer`, and what of its results must not differ."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kill_server import ROOT, Ended, Killer

SCALE = """\
extends: smoke
ablations: [tiny]
figures: []
data: {world: {coco: {train: 12, restval: 0, val: 4, test: 4, test2015: 1}}}
pretrain: {data: [coco], schedule: {epochs: 8}, model: {dropout: 0.1}}
jobs: {retrieval_coco: {schedule: {steps_per_epoch: 6}, validations: 3}}
"""
TABLE = """\
title: Tiny
question: What?
hypothesis: That.
cost: Little.
base: {}
columns:
  - {key: tr, label: TR, job: retrieval_coco, metric: tr_r1}
rows:
  - {key: full, label: MAMO}
"""
COMMANDS = {"data": "prepare", "weights": "weights", "pretrain": "pretrain", "finetune": "finetune"}


class Project:
    """A folder with its own ablations and a server that executes commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ablations" / "scales").mkdir(parents=True)
        for scale in ("paper", "smoke"):
            shutil.copy(ROOT / "ablations" / "scales" / f"{scale}.yaml", folder / "ablations" / "scales")
        (folder / "ablations" / "scales" / "tiny.yaml").write_text(SCALE)
        (folder / "ablations" / "tiny.yaml").write_text(TABLE)
        (folder / "params.yaml").write_text(
            "{scale: tiny, releases: null, results: results, reports: reports}\n"
        )
        self.killer = Killer(folder)
        self.runs: list[Path] = []  # the records of all runs

    @property
    def results(self) -> Path:
        """Return the folder of the runs."""
        return self.folder / "results" / "tiny"

    def make(self, key: str, *more: str, **how: Any) -> Ended:
        """Execute one run by its ``kind/id``."""
        return self.killer.run(*self.words(key), *more, **how)

    def words(self, key: str) -> list[str]:
        """The command that executes a run."""
        kind, name = key.split("/")
        return [COMMANDS[kind], name]

    def find(self, kind: str, name: str) -> str:
        """The ``kind/id`` of the only made run whose identity begins with a name."""
        (directory,) = (self.results / kind).glob(f"{name}-*")
        return f"{kind}/{directory.name}"

    def record(self, key: str) -> dict[str, Any]:
        """A run's record."""
        record: dict[str, Any] = json.loads((self.results / key / "record.json").read_text())
        return record

    def done(self, key: str) -> bool:
        """Check whether a run has its record."""
        return (self.results / key / "record.json").is_file()

    def forget(self, key: str) -> None:
        """Remove a run."""
        shutil.rmtree(self.results / key, ignore_errors=True)

    @contextmanager
    def aside(self, key: str) -> Iterator[dict[str, str]]:
        """Put a run aside, so that it can be made once more, and back in the end; its bits."""
        kept = self.folder / "aside" / key
        kept.parent.mkdir(parents=True, exist_ok=True)
        (self.results / key).rename(kept)
        try:
            yield self.bits(key, self.folder / "aside")
        finally:
            self.forget(key)
            kept.rename(self.results / key)

    def bits(self, key: str, results: Path | None = None) -> dict[str, str]:
        """Everything of a finished run that must be the same however it was made: its files, and its record without time,
        machine and speed."""
        digests = {}
        directory = (results or self.results) / key
        for path in sorted(directory.rglob("*")):
            name = str(path.relative_to(directory))
            # Events carry the time, locks nothing; the record is compared below.
            if path.is_file() and not name.startswith(("tensorboard/", ".lock", ".owner")):
                if not name.endswith("record.json"):
                    digests[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        record = json.loads((directory / "record.json").read_text())
        for name in ("provenance",):
            record.pop(name)
        for name in ("training_seconds", "seconds", "pairs_per_second"):
            record["details"].pop(name, None)
        return digests | {name: json.dumps(value) for name, value in record.items()}


def contents(folder: Path) -> dict[Path, bytes]:
    """Read all files below a folder, by their paths in it."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def project(folder: Path) -> Iterator[Project]:
    """A project in which every run has been made, in one process and without a break."""
    made = Project(folder)
    try:
        for step in (["finetune", "retrieval_coco", "--needs"], ["report", "tiny"]):
            ended = made.killer.run(*step)
            assert ended.status == 0, ended.output
        made.runs = list(made.results.glob("*/*/record.json"))
        yield made
    finally:
        made.killer.close()
