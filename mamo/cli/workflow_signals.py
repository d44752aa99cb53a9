"""Signals to the workflow: the runs that Snakemake has started on this machine are told of each, once, and save their state.

By itself, Snakemake waits at SIGTERM and SIGINT for its jobs to end, of which it tells none, and dies of SIGHUP with its folder
locked.
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
    """What a Snakemake does with the signals that ask it to stop.

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
        """Tell runs of a SIGTERM, too, for which Snakemake sets a handler of its own when it begins to work.

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
        """Ask this process's runs to stop; each hears of it once, whatever comes after."""
        for child in psutil.Process().children():
            with suppress(psutil.Error, IndexError):  # it is gone
                words = child.cmdline()
                # A shell is replaced by the command, and may not be yet.
                ours = any(Path(word).name == "mamo" for word in words[:2]) or " exec mamo " in words[-1]
                if child.pid not in self._told and ours:
                    self._told.add(child.pid)
                    child.send_signal(signal.SIGTERM)


def environment() -> str:
    """What a job's command has before it, so that it stops when this process is killed."""
    return f"{PARENT}={os.getpid()} "
