"""Being asked to stop: SIGTERM and SIGUSR1, which schedulers send before they take a machine away."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

REQUEUE = 75  # EX_TEMPFAIL: stopped by a signal with its state saved; run it again
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class Interrupted(SystemExit):
    """The run was asked to stop, has its state on disk and ends with code 75."""

    def __init__(self) -> None:
        super().__init__(REQUEUE)


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Outside of the training loop a signal ends the run where it stands: what is whole is on disk, the rest is made again."""

    def leave(*_: object) -> None:
        raise Interrupted

    before: dict[int, Any] = {}
    try:
        for number in SIGNALS:
            before[number] = signal.signal(number, leave)
    except ValueError:  # not in the main thread: signals stay with whoever owns them
        pass
    try:
        yield
    finally:
        for replaced, handler in before.items():
            signal.signal(replaced, handler)


class StopSignals:
    """Remembers that a signal came, so that the loop can save and leave between two steps."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def _ask(self, *_: object) -> None:
        self.asked = True

    def __enter__(self) -> StopSignals:
        try:
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._ask)
        except ValueError:  # not in the main thread
            self._before.clear()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
