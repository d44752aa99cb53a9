"""Show the progress of many runs: a bar on a terminal, a line per run elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from mamo.cli.remaining import Remaining
from mamo.cli.status import Step
from mamo.cost.work import Part
from mamo.specs.identity import Run
from mamo.training.progress_log import duration


class Progress:
    """Count runs, pages and notebooks as they are made, and estimate the time left from counted cost.

    Args:
        parts: run key, page or notebook -> its counted work.
        at_once: how many are probably made at the same time.
    """

    def __init__(self, parts: Mapping[str, Part], at_once: int = 1) -> None:
        self.total, self.count = len(parts), 0
        self._remaining = Remaining(parts, at_once)
        self._bar: Any = None
        self._running: dict[str, Any] = {}

    def __enter__(self) -> Progress:
        if sys.stdout.isatty() and self.total:
            from rich import progress

            self._bar = progress.Progress(
                progress.BarColumn(),
                progress.TextColumn("{task.fields[count]}"),
                progress.TimeElapsedColumn(),
                progress.TextColumn("{task.description}"),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=1.0, count=f"0/{self.total}")
            self._show("")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def running(self, steps: Mapping[str, Step]) -> None:
        """Update the steps of the runs in progress; on a terminal, show a bar for each.

        Args:
            steps: run key -> the last step in its log.
        """
        self._remaining.running({key: step.finished / max(1, step.total) for key, step in steps.items()})
        if self._bar is None:
            return
        for key in [key for key in self._running if key not in steps]:
            self._bar.remove_task(self._running.pop(key))
        for key, step in steps.items():
            if key not in self._running:
                self._running[key] = self._bar.add_task(key, total=step.total, count="")
            text = f"{key}  {step.left} left  {step.parts}"
            self._bar.update(self._running[key], completed=step.finished, total=step.total, description=text)
        self._show(None)

    def done(self, run: Run, outcome: str, seconds: float | None = None) -> None:
        """Count a run that has ended after ``seconds``."""
        self._made(run.key, f"{run.key}{'' if outcome == 'converged' else f': {outcome}'}", seconds)

    def published(self, name: str) -> None:
        """Count a page or notebook that has been made."""
        self._made(name, name, None)

    def _made(self, name: str, text: str, seconds: float | None) -> None:
        self.count += 1
        self._remaining.done(name, seconds)
        if self._bar is not None:
            self._show(text)
        else:
            elapsed = duration(self._remaining.elapsed)
            left = self._remaining.left()
            rest = f"about {duration(left)} left" if left else "the last one"
            print(f"{self.count}/{self.total}  {elapsed}, {rest}  {text}", flush=True)

    def _show(self, text: str | None) -> None:
        """Update the overall bar; None keeps the name of the last thing made."""
        if text is not None:
            self._last = text
        left = self._remaining.left()
        described = f"about {duration(left)} left  {self._last}" if left else self._last
        self._bar.update(
            self._task,
            completed=self._remaining.share(),
            count=f"{self.count}/{self.total}",
            description=described,
        )
