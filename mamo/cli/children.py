"""Start programs that get each signal to the command once and never outlive it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from mamo.training.interruption import end_with_parent

# What ends a command. A scheduler's SIGUSR1 is for runs.
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class StopRequest:
    """Record that a command was asked to stop, and pass the signal on to its child.

    Args:
        as_number: the signal to send to the child; None: the one that the command got.

    Attributes:
        by: the signal that asked the command to stop; None so far.
    """

    def __init__(self, as_number: signal.Signals | None = None) -> None:
        self._as = as_number
        self.by: signal.Signals | None = None
        self._child: subprocess.Popen[Any] | None = None
        self._told = False

    @property
    def status(self) -> int:
        """Exit status of a command that a signal ended: 128 plus the signal's number, as shells report it."""
        return 128 + self.by if self.by else 0

    def passes_to(self, child: subprocess.Popen[Any]) -> None:
        """Set the child that gets the signal; send it now if it has already arrived."""
        self._child, self._told = child, False
        self.tell()

    def tell(self) -> None:
        """Send the signal to the child, unless that was done already."""
        if self.by is not None and self._child is not None and not self._told:
            self._told = True
            with suppress(ProcessLookupError):
                self._child.send_signal(self._as or self.by)


@contextmanager
def forward_signals(request: StopRequest) -> Iterator[None]:
    """Pass a signal that would end this command on to its child, once; the block continues and can wait for the child.

    Signals that the caller ignores (``nohup``, ``&`` in a script) stay ignored.
    """

    def heard(number: int, frame: object) -> None:
        if request.by is None:
            request.by = signal.Signals(number)
            if request.by == signal.SIGHUP:
                _leave_the_terminal()
            request.tell()

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
    """Start a program that gets SIGINT when this process dies, and no signal directly from the terminal.

    It reacts to SIGINT even where this process ignores it, since SIGINT is how it is asked to stop.
    """
    me = os.getpid()

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        end_with_parent(me, signal.SIGINT)

    return subprocess.Popen(
        words, stdout=output, stderr=errors, env=environment, process_group=0, preexec_fn=prepare
    )


def call(words: Sequence[str], output: int | None = None) -> int:
    """Run a program to its end. Returns its exit status, or 128 plus the signal's number if this command was asked to stop."""
    request = StopRequest()
    with forward_signals(request):
        child = start(words, output=output)
        request.passes_to(child)
        status = child.wait()
    return request.status or status


def _leave_the_terminal() -> None:
    """Redirect output away from a closed terminal, where writing would raise an error."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            if os.isatty(stream.fileno()):
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
