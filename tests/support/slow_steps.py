"""Makes the steps of chosen trainings slow, and notes who makes each: imported by every Python process of a test's cluster.

A run is slow while there is a file ``slow/RUN`` below the folder that ``MAMO_TEST_STEPS`` names. Its process hears signals all
the time, as that of a large model does, so faults reach it in the middle of its training on a machine of any speed.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

VARIABLE = "MAMO_TEST_STEPS"
LOOP, CHECKPOINTS = "mamo.training.loop", "mamo.training.checkpoints"
STEP_SECONDS = 3.0


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules as Python does, and changes them once loaded: importing them here would cost each process torch."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None and spec.loader is not None
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            CHANGES[name](module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _noted(loop: ModuleType) -> None:
    """Each step of the training loop is noted, and slow where it is asked for."""
    folder, make = Path(os.environ[VARIABLE]), loop.train_step

    @functools.wraps(make)
    def train_step(*given: Any) -> Any:
        step, config = given[4], given[5]
        run = config.checkpoints.directory.parent
        made = make(*given)
        note = {
            "step": step,
            "rank": int(os.environ.get("RANK", 0)),
            "job": os.environ.get("SLURM_JOB_ID"),
            "process": os.getpid(),
            "time": time.time(),
        }
        with (folder / "steps" / f"{run.parent.name}-{run.name}").open("a") as file:
            file.write(json.dumps(note) + "\n")
        if (folder / "slow" / run.name).exists():
            time.sleep(STEP_SECONDS)
        return made

    loop.train_step = train_step  # type: ignore[attr-defined]


def _slow(checkpoints: ModuleType) -> None:
    """Saving takes as many seconds as the file ``saving`` says."""
    path, save = Path(os.environ[VARIABLE]) / "saving", checkpoints.Checkpoints.save

    @functools.wraps(save)
    def slow(*given: Any) -> None:
        if path.is_file():
            time.sleep(float(path.read_text()))
        save(*given)

    checkpoints.Checkpoints.save = slow


CHANGES = {LOOP: _noted, CHECKPOINTS: _slow}

if VARIABLE in os.environ:
    sys.meta_path.insert(0, _Finder())
