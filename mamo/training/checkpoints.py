"""Checkpoints to resume from: written atomically, with a checksum; the last two are kept."""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch

from mamo.files.stored import StoredError

State = dict[str, Any]
"""What a checkpoint holds: tensors and plain values by name, and nothing that takes code to load."""
KEPT = 2  # the newest, and one to fall back to if it is damaged
WRITING = ".writing-"


class Checkpoints:
    """The checkpoints of one run. They are not among its outputs, so a workflow never deletes them on failure."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, step: int, state: State) -> None:
        """Store the state reached before ``step``, then drop all but the last two."""
        self.directory.mkdir(parents=True, exist_ok=True)
        # The run's lock is held, so any other unfinished file was left by a killed process.
        for left in self.directory.glob(f"{WRITING}*"):
            left.unlink()
        unfinished = self.directory / f"{WRITING}{os.getpid()}"
        try:
            with unfinished.open("wb") as file:
                _write_state(state, file)
                file.flush()
                os.fsync(file.fileno())
            # The checksum is in the name, so that a cut-off file is recognised without a second file, which may be lost.
            final = self.directory / f"step-{step:09d}-{_short_checksum(unfinished)}.pt"
            unfinished.replace(final)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        for old in self._all()[:-KEPT]:
            old.unlink()

    def load(self) -> State | None:
        """Load the newest complete checkpoint, or None; a damaged one is skipped with a warning.

        Raises:
            StoredError: one with a correct checksum asks for code, which is not executed.
        """
        for path in reversed(self._all()):
            if _short_checksum(path) == path.stem.rsplit("-", 1)[1]:
                try:
                    # Tensors and plain values alone: a pickle from elsewhere must not run code.
                    return torch.load(path, map_location="cpu", weights_only=True)
                except (pickle.UnpicklingError, RuntimeError) as error:
                    reason = f"holds more than tensors and plain values ({str(error)[:200]})"
                    raise StoredError(
                        f"{path}: refused, since it {reason}; delete it if you do not know where it comes from"
                    ) from error
            print(
                f"warning: {path} is damaged (its checksum differs); resuming from the one before",
                file=sys.stderr,
            )
        return None

    def _all(self) -> list[Path]:
        return sorted(self.directory.glob("step-*.pt")) if self.directory.is_dir() else []


def _write_state(state: State, file: BinaryIO) -> None:
    """Call ``torch.save``, but raise the system's error (a full disk), which it would hide behind its own."""
    faults: list[OSError] = []

    class Recording:
        def write(self, data: bytes) -> int:
            try:
                return file.write(data)
            except OSError as error:
                faults.append(error)
                raise

        def flush(self) -> None:
            file.flush()

    try:
        torch.save(state, Recording())  # type: ignore[arg-type]
    except RuntimeError as error:
        if faults:
            faults[0].filename = file.name
            raise faults[0] from error
        raise


def _short_checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
