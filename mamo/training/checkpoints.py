"""Checkpoints to resume from: written beside and renamed, with a checksum, the last two kept."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

KEPT = 2


class Checkpoints:
    """The checkpoints of one run. They live beside its outputs but are none: a workflow never deletes them on failure."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Store the state reached before ``step``, then drop all but the last two."""
        self.directory.mkdir(parents=True, exist_ok=True)
        beside = self.directory / f".writing-{os.getpid()}"
        with beside.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        final = self.directory / f"step-{step:09d}-{_checksum(beside)}.pt"
        beside.replace(final)
        for old in self._all()[:-KEPT]:
            old.unlink()

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None; a damaged one is skipped with a warning."""
        for path in reversed(self._all()):
            if _checksum(path) == path.stem.rsplit("-", 1)[1]:
                return torch.load(path, map_location="cpu", weights_only=True)
            print(
                f"warning: {path} is damaged (its checksum differs); going on from the one before",
                file=sys.stderr,
            )
        return None

    def clear(self) -> None:
        """Remove them all: the run is done."""
        shutil.rmtree(self.directory, ignore_errors=True)

    def _all(self) -> list[Path]:
        return sorted(self.directory.glob("step-*.pt")) if self.directory.is_dir() else []


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
