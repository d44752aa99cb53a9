"""Executes ``mamo`` commands in forks of one process that has torch loaded, and kills them where a test says.

A request is one line of JSON on standard input, the answer one line on standard output. Every change that a command makes to
the file system below ``folder`` is counted, by Python's own audit events: files opened for writing, renamed and removed, and
folders made and removed. Between two of them nothing on the disk changes but a file's growing content, so a command that can
be killed at every one of them, and within a file, can be killed at any moment.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")
ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Ended:
    """How a command ended: its exit status (negative: the signal that killed it), and the changes that it made."""

    status: int
    changes: int
    output: str


class Killer:
    """The side of the test: starts the server, asks it to execute commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, *words: str, **how: Any) -> Ended:
        """Execute a command in the project's folder.

        Args:
            at: the change at which the command is sent ``signal`` (SIGKILL), counted from 1.
            file: a part of a file's name, at whose first change the command is sent ``signal``.
            after: seconds after which it is.
            largest: bytes at which a file is full: writing on kills the command, or with ``dies=False`` is an error.
            faults: a name of ``FAULTS``.
        """
        return self.wait(self.start(*words, **how))

    def start(self, *words: str, **how: Any) -> int:
        """Start a command beside others; its process."""
        return int(self._ask({"words": words, "folder": str(self.folder), **how})["started"])

    def wait(self, process: int) -> Ended:
        """The end of a command."""
        return Ended(**self._ask({"wait": process}))

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """End the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve() -> None:
    """Fork for each request."""
    import mamo.cli.warm_server

    mamo.cli.warm_server._import_ahead()
    import pandas  # noqa: F401  of the report

    import mamo.reporting.collect
    import mamo.reporting.publish  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(_wait(request["wait"]) if "wait" in request else _start(request)), flush=True)
    os._exit(0)  # the interpreter would take seconds to unload what it has loaded


_folders: dict[int, Path] = {}


def _start(request: dict[str, Any]) -> dict[str, Any]:
    child = os.fork()
    if child == 0:
        _execute(request)
    _folders[child] = Path(request["folder"])
    if request.get("after") is not None:
        time.sleep(request["after"])
        os.kill(child, request.get("signal", signal.SIGKILL))
    return {"started": child}


def _wait(child: int) -> dict[str, Any]:
    _, status = os.waitpid(child, 0)
    log, count = (_folders[child] / f"{name}-{child}" for name in ("output", "changes"))
    return {
        "status": os.waitstatus_to_exitcode(status),
        "changes": int(count.read_text()) if count.is_file() else 0,
        "output": log.read_text(errors="replace") if log.is_file() else "",
    }


def _execute(request: dict[str, Any]) -> None:
    """The command itself, in the fork."""
    log, count = (Path(request["folder"]) / f"{name}-{os.getpid()}" for name in ("output", "changes"))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    import mamo.runs.make_finetuning as finetuning
    import mamo.runs.make_pretraining as pretraining
    import mamo.runs.make_weights as weights

    for module in (finetuning, pretraining, weights):  # a checkpoint after every step
        module.LoopConfig = partial(module.LoopConfig, checkpoint_seconds=0.0)
    if request.get("faults"):
        FAULTS[request["faults"]]()
    if request.get("largest") is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if request.get("dies", True) else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["largest"], request["largest"]))
    counted = _count_changes(request)
    from mamo.cli.main import main

    try:
        code: object = main(request["words"])
    except SystemExit as stopped:
        code = stopped.code
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    changes = counted()
    sys.stdout.flush()
    sys.stderr.flush()
    count.write_text(str(changes))
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _count_changes(request: dict[str, Any]) -> Any:
    """Count changes below the project's results and reports, and send the signal at the one that is asked for."""
    places = tuple(f"{request['folder']}/{name}" for name in ("results", "reports"))
    number, stopped = 0, False

    def hook(event: str, given: tuple[Any, ...]) -> None:
        nonlocal number
        if stopped or event not in CHANGES:
            return
        path = given[0]
        if event == "open" and not (given[2] & (os.O_WRONLY | os.O_RDWR)):
            return
        if not isinstance(path, str | os.PathLike) or not os.path.abspath(path).startswith(places):
            return
        number += 1
        asked = request.get("file")
        if number == request.get("at") or (asked is not None and asked in os.path.basename(path)):
            os.kill(os.getpid(), request.get("signal", signal.SIGKILL))

    def counted() -> int:
        nonlocal stopped
        stopped = True
        return number

    sys.addaudithook(hook)
    return counted


def _in_batch(happens: Callable[[dict[str, Any]], None], step: int = 3, once: bool = True) -> None:
    """Let something happen to the batch of a step; ``once``: only the first time that any process makes it."""
    from mamo.data.batches.collate import CaptionCollate

    mark, made = Path("fault").absolute(), CaptionCollate.__call__
    count = 0

    def faulty(self: Any, samples: Any) -> Any:
        nonlocal count
        count += 1
        batch = made(self, samples)
        if count == step and not (once and mark.exists()):
            mark.touch()
            happens(batch)
        return batch

    CaptionCollate.__call__ = faulty  # type: ignore[method-assign]


def _workers(count: int) -> None:
    import mamo.runs.training as training

    training.data_workers = lambda: count


def _worker_dies() -> None:
    _workers(2)
    _in_batch(lambda batch: os.kill(os.getpid(), signal.SIGKILL), step=2)


def _worker_without_memory() -> None:
    def happens(batch: dict[str, Any]) -> None:
        raise MemoryError

    _workers(2)
    _in_batch(happens, step=2)


def _nan_in_batch() -> None:
    _in_batch(lambda batch: batch["image"].fill_(float("nan")), once=False)


def _held() -> None:
    """Training stops in its second step until there is a file ``go``."""

    def happens(batch: dict[str, Any]) -> None:
        while not Path("go").exists():
            time.sleep(0.01)

    _in_batch(happens, step=2, once=False)


def _clock_jumps() -> None:
    """Every look at the clock finds it a day behind."""
    looks = [time.time()]

    def clock() -> float:
        looks.append(looks[-1] - 86400)
        return looks[-1]

    time.time = clock


def _evaluates(fewer: int = 0, **metrics: float) -> None:
    """An evaluation that leaves the first items out, or finds other metrics."""
    from mamo.tasks.retrieval import RetrievalTask
    from mamo.tasks.task import Evaluation

    whole = RetrievalTask.test

    def test(self: Any, data: Any) -> Any:
        evaluation = whole(self, data)
        return Evaluation(
            evaluation.metrics | metrics, {name: c[fewer:] for name, c in evaluation.items.items()}
        )

    RetrievalTask.test = test  # type: ignore[method-assign]


FAULTS: dict[str, Callable[[], None]] = {
    "one_worker": lambda: _workers(1),
    "two_workers": lambda: _workers(2),
    "worker_dies": _worker_dies,
    "worker_without_memory": _worker_without_memory,
    "nan_in_batch": _nan_in_batch,
    "held": _held,
    "fewer_items": lambda: _evaluates(fewer=1),
    "impossible_metric": lambda: _evaluates(tr_r1=140.0),
    "clock_jumps": _clock_jumps,
}

if __name__ == "__main__":
    serve()
