"""Programs that a command starts: they hear of a signal to the command once, and do not outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from mamo.training.interruption import end_with

# What ends a command. A scheduler's SIGUSR1 is for runs.
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Asked:
    """Whether a command was asked to stop, and whom it tells.

    Args:
        as_number: the signal that a child gets; None: the same as the command.

    Attributes:
        by: the signal; None while there was none.
    """

    def __init__(self, as_number: signal.Signals | None = None) -> None:
        self._as = as_number
        self.by: signal.Signals | None = None
        self._child: subprocess.Popen[Any] | None = None
        self._told = False

    @property
    def status(self) -> int:
        """The exit status of a command that a signal ended, as shells give it."""
        return 128 + self.by if self.by else 0

    def passes_to(self, child: subprocess.Popen[Any]) -> None:
        """Name the child that is told once, now if the signal came before."""
        self._child, self._told = child, False
        self.tell()

    def tell(self) -> None:
        """Send the signal to the child, if it has not had it."""
        if self.by is not None and self._child is not None and not self._told:
            self._told = True
            with suppress(ProcessLookupError):
                self._child.send_signal(self._as or self.by)


@contextmanager
def passing_on(asked: Asked) -> Iterator[None]:
    """Pass a signal that ends this command on to its child, once; the block goes on, so that it can wait for the child's end.

    What the caller ignores (``nohup``, ``&`` in a script) stays ignored.
    """

    def heard(number: int, frame: object) -> None:
        if asked.by is None:
            asked.by = signal.Signals(number)
            if asked.by == signal.SIGHUP:
                _leave_the_terminal()
            asked.tell()

    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, heard) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start(
    words: Sequence[str],
    environment: Mapping[str, str] | None = None,
    output: IO[Any] | int | None = None,
    errors: IO[Any] | int | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program that gets SIGINT when this process is gone, and hears nothing of a terminal's signals by itself.

    It heeds SIGINT even where this process ignores it: it is how this one tells it to stop.
    """
    me = os.getpid()

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        end_with(me, signal.SIGINT)

    return subprocess.Popen(
        words, stdout=output, stderr=errors, env=environment, process_group=0, preexec_fn=prepare
    )


def call(words: Sequence[str], output: int | None = None) -> int:
    """Run a program to its end; its exit status, or 128 and the signal's number where this command was asked to stop."""
    asked = Asked()
    with passing_on(asked):
        child = start(words, output=output)
        asked.passes_to(child)
        status = child.wait()
    return asked.status or status


def _leave_the_terminal() -> None:
    """Write to nowhere what would be written to a terminal that was closed: writing to it is an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if os.isatty(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
