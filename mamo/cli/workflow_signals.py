"""Pass signals to the workflow on to the runs that Snakemake started on this machine: each gets one signal and saves its state.

By itself, Snakemake reacts to SIGTERM and SIGINT by waiting for its jobs without telling them, and dies of SIGHUP with its
folder locked.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import psutil

from mamo.training.interruption import PARENT

Handler = Callable[[int, FrameType | None], Any]


class Signals:
    """Pass on the signals that ask a Snakemake to stop.

    Attributes:
        main: whether it is the workflow's own, and not that of one job on a cluster.
    """

    def __init__(self, main: bool) -> None:
        self.main = main
        self._told: set[int] = set()
        if main and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    signal.signal(number, self._before(signal.default_int_handler))

    def pass_on(self) -> None:
        """Pass on SIGTERM too, for which Snakemake sets its own handler when it starts to work.

        Call it before each job. A cluster that tracks processes by cgroups signals none but the first of a job's step: a
        Snakemake.
        """
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGTERM)
        if callable(handler) and not getattr(handler, "passes_on", False):
            signal.signal(signal.SIGTERM, self._before(handler))

    def _before(self, handler: Handler) -> Handler:
        def told(number: int, frame: FrameType | None) -> None:
            self._tell()
            handler(number, frame)

        told.passes_on = True  # type: ignore[attr-defined]
        return told

    def _tell(self) -> None:
        """Ask this process's runs to stop; each gets the signal once, however often this is called."""
        for child in psutil.Process().children():
            with suppress(psutil.Error, IndexError):  # it has ended
                words = child.cmdline()
                # The shell may not have been replaced by the command yet.
                ours = any(Path(word).name == "mamo" for word in words[:2]) or " exec mamo " in words[-1]
                if child.pid not in self._told and ours:
                    self._told.add(child.pid)
                    child.send_signal(signal.SIGTERM)


def environment() -> str:
    """Return the prefix of a job's command that stops the job when this process is killed."""
    return f"{PARENT}={os.getpid()} "
