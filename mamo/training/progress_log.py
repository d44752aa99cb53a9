"""Show a run's progress while it trains, in the terminal or the log, and write TensorBoard's event files."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

EVENTS = "tensorboard"
_SECONDS = 10.0  # between two lines of a log, and between two writes of buffered events


class ProgressLog:
    """A context manager around a training loop's steps; silent on all ranks but the first.

    On a terminal it is a bar with the time left and the loss parts; elsewhere a line at the first step and then every ten
    seconds, which ``mamo status`` and ``mamo reproduce`` read.

    Args:
        total: steps of the whole run.
        start: the first step of this process.
        events: the folder of TensorBoard's event files; None: none are written.
        leader: whether this process reports progress.
    """

    def __init__(self, total: int, start: int, events: Path | None, leader: bool) -> None:
        self.total, self.start, self.leader = total, start, leader
        self._events = events if leader else None
        self._writer: Any = None
        self._flushed = 0.0
        self._bar: Any = None
        self._began = time.monotonic()
        self._shown: float | None = None

    def __enter__(self) -> ProgressLog:
        if self.leader and sys.stderr.isatty() and self.total > self.start:
            from rich import console, progress

            self._bar = progress.Progress(
                progress.BarColumn(20),
                progress.MofNCompleteColumn(),
                progress.TextColumn("left"),
                progress.TimeRemainingColumn(),
                progress.TextColumn("{task.description}"),
                console=console.Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self.total, completed=self.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._writer is not None:
            self._writer.close()

    def step(self, finished: int, values: Mapping[str, float]) -> None:
        """Count a finished step.

        Args:
            finished: steps done so far, those before a resume included.
            values: the loss and its parts.
        """
        if not self.leader:
            return
        now = time.monotonic()
        parts = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        if self._bar is not None:
            self._bar.update(self._task, completed=finished, description=parts)
        elif self._shown is None or now - self._shown > _SECONDS:
            self._shown = now
            # By this process's own speed: steps before a resume may have run on another machine.
            left = (now - self._began) / (finished - self.start) * (self.total - finished)
            print(
                f"step {finished}/{self.total}  {duration(left)} left  {parts}", file=sys.stderr, flush=True
            )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the loss and its parts of a step for TensorBoard.

        Written directly: importing torch's own writer would cost every short job a second, and TensorBoard's event writer has a
        thread that prints its own traceback when the disk is full.
        """
        if self._events is None:
            return
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        now = time.time()
        if self._writer is None:
            self._events.mkdir(parents=True, exist_ok=True)
            name = f"events.out.tfevents.{int(now):010}.{socket.gethostname()}.{os.getpid()}"
            self._writer = RecordWriter((self._events / name).open("wb"))
            self._writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        scalars = [Summary.Value(tag=f"train/{name}", simple_value=value) for name, value in values.items()]
        self._writer.write(
            Event(wall_time=now, step=step, summary=Summary(value=scalars)).SerializeToString()
        )
        if now - self._flushed > _SECONDS:
            self._writer.flush()
            self._flushed = now


def duration(seconds: float) -> str:
    """Format seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
