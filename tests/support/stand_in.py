"""Stands in for ``mamo`` where a test is of a workflow and not of training: executes no run, but writes true records.

A run's metrics are a function of its digest alone, so that a test can say which spec a shown number is of.
"""

from __future__ import annotations

import json
import os
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

KINDS = {"prepare": "data", "weights": "weights", "pretrain": "pretrain", "finetune": "finetune"}


def metric(digest: str) -> float:
    """The metric of a run, in percent with one decimal."""
    return int(digest[:6], 16) % 1000 / 10


def stand_in(command: str, words: list[str]) -> int:
    """Write the record of the run that a command names, and note it in ``executed``."""
    from mamo.specs.identity import REVISIONS
    from mamo.specs.plan import make_plan

    given = dict(zip(words, words[1:], strict=False))
    kind, name = KINDS[command], words[-1]
    run = make_plan(given["--scale"]).find(kind, name)
    with Path(os.environ.get("MAMO_TEST_EXECUTED", "executed")).open("a") as file:
        file.write(f"{run.key}\n")
    while fnmatch(name, os.environ.get("MAMO_TEST_HOLDS", "none")) and not Path("release").exists():
        time.sleep(0.05)
    directory = run.directory(Path(given["--results"]) / given["--scale"])
    directory.mkdir(parents=True, exist_ok=True)
    if kind == "finetune" and "MAMO_TEST_EDITS" in os.environ:  # as a person might meanwhile
        path, old, new = os.environ["MAMO_TEST_EDITS"].split("|")
        Path(path).write_text(Path(path).read_text().replace(old, new))
    fails, hangs = (fnmatch(name, os.environ.get(f"MAMO_TEST_{what}", "none")) for what in ("FAILS", "HANGS"))
    if fails or hangs:
        (directory / "checkpoints").mkdir(exist_ok=True)
        (directory / "checkpoints" / "step-1.pt").write_text("half")
        if hangs:
            time.sleep(600)
        return 1
    (directory / "model.safetensors").write_text(run.digest * 100)
    (directory / "manifest.json").write_text(json.dumps({"made": run.digest}))
    record = {
        "run": run.id,
        "kind": kind,
        "name": run.name,
        "scale": given["--scale"],
        "spec": dict(run.spec),
        "inputs": dict(run.inputs),
        "revision": REVISIONS[run.kind],
        "outcome": {"status": "converged", "reason": ""},
        "metrics": {"tr_r1": metric(run.digest), "chance/tr_r1": 2.0},
    }
    run.record(directory.parents[1]).write_text(json.dumps(record))
    return 0


if __name__ == "__main__":
    if sys.argv[1] in KINDS:
        sys.exit(stand_in(sys.argv[1], sys.argv[2:]))
    from mamo.cli.main import main

    sys.exit(main())
