"""Handle requests to stop: from a scheduler that takes a machine away, from Ctrl-C, or from a closed terminal."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

REQUEUE = 75  # EX_TEMPFAIL: stopped by a signal with its state saved; run it again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
# Id of the process whose death ends a command: set by a workflow for the runs that it starts.
PARENT = "MAMO_PARENT"
_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


class Interrupted(SystemExit):
    """The run was asked to stop; its state is on disk and it ends with code 75."""

    def __init__(self) -> None:
        super().__init__(REQUEUE)


def handled_signals() -> list[signal.Signals]:
    """Return the signals that stop this process: all of ``SIGNALS`` but those that its caller ignores (``nohup``, ``&``)."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


@contextmanager
def exit_on_signal() -> Iterator[None]:
    """Outside of the training loop, let a signal end the run at once: finished parts are on disk, the rest is made again."""
    asked = False

    def leave(*_: object) -> None:
        nonlocal asked
        if not asked:  # asked again while already leaving: continue to leave
            asked = True
            raise Interrupted

    before: dict[int, Any] = {}
    try:
        for number in handled_signals():
            before[number] = signal.signal(number, leave)
    except ValueError:  # not in the main thread: leave the signals to their owner
        pass
    try:
        yield
    finally:
        for replaced, handler in before.items():
            signal.signal(replaced, handler)


class StopSignals:
    """Remember that a signal came, so that the loop can save and leave between two steps."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __enter__(self) -> StopSignals:
        try:
            for number in handled_signals():
                self._before[number] = signal.signal(number, self._ask)
        except ValueError:  # not in the main thread
            self._before.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def end_with_parent(parent: int, number: int = signal.SIGTERM) -> None:
    """Have the system send this process a signal when its parent dies, for whatever reason (Linux only; elsewhere nothing).

    Args:
        parent: the process that must still be its parent, or else the signal comes now.
    """
    try:
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, int(number), 0, 0, 0)
    except (OSError, AttributeError):  # no such call on this system
        return
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def end_with_the_workflow() -> None:
    """Make a run stop when the workflow that started it is killed; a run started by a person continues."""
    parent = os.environ.get(PARENT)
    if parent and parent == str(os.getppid()):
        end_with_parent(int(parent))
