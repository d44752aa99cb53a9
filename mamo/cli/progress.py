"""Progress of many runs: a bar on a terminal, a line per run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mamo.cli.status import Step
from mamo.specs.identity import Run
from mamo.training.watching import duration


class Progress:
    """Counts runs as they are done, with the time left judged by those done so far."""

    def __init__(self, total: int) -> None:
        self.total, self.count, self.began = total, 0, time.monotonic()
        self._bar: Any = None
        self._running: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        if sys.stdout.isatty() and self.total:
            from rich import progress

            self._bar = progress.Progress(
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TimeElapsedColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.description}"),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def running(self, steps: Mapping[str, Step]) -> None:
        """Show where the runs stand that are being made, a bar each; on a terminal only.

        Args:
            steps: run key -> the last step that its log tells of.
        """
        if self._bar is None:
            return
        for key in [key for key in self._running if key not in steps]:
            self._bar.remove_task(self._running.pop(key))
        for key, step in steps.items():
            if key not in self._running:
                self._running[key] = self._bar.add_task(key, total=step.total)
            text = f"{key}  {step.left} left  {step.parts}"
            self._bar.update(self._running[key], completed=step.finished, total=step.total, description=text)

    def done(self, run: Run, outcome: str) -> None:
        """One more run has ended."""
        self.count += 1
        elapsed = time.monotonic() - self.began
        left = elapsed / self.count * (self.total - self.count)
        text = f"{run.key}{'' if outcome == 'converged' else f': {outcome}'}"
        if self._bar is not None:
            self._bar.update(self._task, completed=self.count, description=text)
        else:
            print(
                f"{self.count}/{self.total}  {duration(elapsed)}, about {duration(left)} left  {text}",
                flush=True,
            )
