"""The lock under which a run is made: one process, or one group of torchrun's ranks, at a time."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from mamo.files.writing import write_text
from mamo.runs.run import RunError

# Set by a launcher for its ranks: the launcher holds the lock for all of them.
HELD = "MAMO_LOCK_HELD"
POLL_SECONDS = 1.0


@contextmanager
def run_lock(directory: Path, wait: bool = False) -> Iterator[None]:
    """Hold a run's lock within the block. It is free again when its process ends, however that happens.

    Args:
        wait: wait for the process that makes the run, instead of refusing. Jobs that a killed workflow left on a cluster
            continue; the restarted workflow's job then waits and finds the run done.

    Raises:
        RunError: another process makes the run; the message says which.
    """
    if os.environ.get(HELD) == str(directory.resolve()):
        yield
        return
    rank = int(os.environ.get("RANK", 0))
    path = directory / (f".lock-{rank}" if rank else ".lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        if not wait:
            raise RunError(
                f"{directory.parent.name}/{directory.name} is being made by another process{owner(directory)} "
                f"(it holds {path})"
            ) from None
        print(
            f"waiting for {path}, held{owner(directory) or ' by another process'}",
            file=sys.stderr,
            flush=True,
        )
        lock.acquire(poll_interval=POLL_SECONDS)
    try:
        if not rank:
            write_text(directory / ".owner.json", json.dumps(_me()))
        yield
    finally:
        lock.release()


def owner(directory: Path) -> str:
    """Say who holds, or last held, a run's lock, e.g. `` (job 12 on node3, process 4711, since 10:15)``; '' if unknown."""
    with suppress(OSError, ValueError, KeyError):
        who = json.loads((directory / ".owner.json").read_text(encoding="utf-8"))
        job = f"job {who['job']} on " if who["job"] else ""
        return f" ({job}{who['host']}, process {who['process']}, since {who['since']})"
    return ""


def _me() -> dict[str, str | int | None]:
    return {
        "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        "process": os.getpid(),
        "job": os.environ.get("SLURM_JOB_ID"),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
