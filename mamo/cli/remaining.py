"""Estimate the time left: counted work, corrected by how long the first runs of each kind really took."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from mamo.cost.work import Part

SURE = 0.02  # share of a run from which its pace is informative
PRIOR = 5.0  # seconds of work after which observation weighs as much as the count


class Remaining:
    """Estimate how much of some work is left.

    Args:
        parts: name -> its counted work.
        at_once: how many parts are probably made at the same time.
        clock: seconds.
    """

    def __init__(
        self, parts: Mapping[str, Part], at_once: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.parts, self.at_once, self._clock = dict(parts), at_once, clock
        self._began = clock()
        self._done: dict[str, float | None] = {}
        self._running: dict[str, tuple[float, float]] = {}  # share done, seconds in which it was
        self._first: dict[str, tuple[float, float]] = {}  # when a run was first seen, and where it was

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._began

    def done(self, name: str, seconds: float | None = None) -> None:
        """Count a finished part; ``seconds`` is how long it took, if known."""
        if name in self.parts:
            self._done[name] = seconds
            self._running.pop(name, None)

    def running(self, shares: Mapping[str, float]) -> None:
        """Update the parts in progress: name -> share that is done."""
        now = self._clock()
        self._running = {}
        for name, share in shares.items():
            if name in self.parts and name not in self._done:
                began, before = self._first.setdefault(name, (now, share))
                self._running[name] = (
                    share,
                    (now - began) * share / (share - before) if share > before else 0.0,
                )

    def share(self) -> float:
        """Return the share of all work that is done, from 0 to 1."""
        done, left = self._work()
        return done / (done + left) if done + left else 1.0

    def left(self) -> float:
        """Return the seconds to the end: 0 only if nothing is left."""
        done, left = self._work()
        # The count replaces observation at first; it weighs less with every part that is made.
        pace = (self.elapsed + PRIOR / self.at_once) / (done + PRIOR)
        return max(1.0, left * pace) if len(self._done) < len(self.parts) else 0.0

    def _work(self) -> tuple[float, float]:
        """Return work done and work left, in seconds of this machine for one part at a time."""
        factors = self._factors()
        done = left = 0.0
        for name, part in self.parts.items():
            seconds = part.seconds * factors.get(part.kind, 1.0)
            share = 1.0 if name in self._done else self._running.get(name, (0.0, 0.0))[0]
            done += share * seconds
            left += (1 - share) * seconds
        return done, left

    def _factors(self) -> dict[str, float]:
        """Map kind -> how much longer its parts take than counted; kinds not observed yet are left out."""
        took: dict[str, float] = {}
        counted: dict[str, float] = {}
        seen = [(name, 1.0, seconds) for name, seconds in self._done.items() if seconds]
        seen += [
            (name, share, seconds)
            for name, (share, seconds) in self._running.items()
            if share > SURE and seconds
        ]
        for name, share, seconds in seen:
            kind = self.parts[name].kind
            took[kind] = took.get(kind, 0.0) + seconds
            counted[kind] = counted.get(kind, 0.0) + share * self.parts[name].seconds
        return {kind: took[kind] / counted[kind] for kind in took}
