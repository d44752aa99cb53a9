"""Pass batches from worker processes to the training: through shared memory if there is room, else through a pipe.

PyTorch puts the tensors of a batch into files in ``/dev/shm`` and passes them on through sockets in the folder of temporary
files. A thread does both and silently drops a batch that it cannot pass, so the training would wait for ever: with the 64 MB
of ``/dev/shm`` that containers have by default, and with a ``TMPDIR`` whose path is too long for a socket.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing import process, util
from pathlib import Path
from typing import Any

from mamo.data.batches.collate import Batch

SHARED_MEMORY = Path("/dev/shm")
# A socket's path has at most 107 bytes. Python makes a folder pymp-XXXXXXXX, and listener-XXXXXXXX in it.
_SOCKET_PATH, _FOLDER_NAME, _SOCKET_NAME = 107, 14, 18
LONGEST_FOLDER = _SOCKET_PATH - _FOLDER_NAME - _SOCKET_NAME
# Keep a quarter of shared memory free: NCCL and the workers' semaphores use it too.
_SHARE_FREE = 4
_OPEN_FILES = 65_536


class Shared:
    """Collate in a worker process and move the batch into shared memory there, where an error still reaches the training.

    Args:
        collate: makes a batch, a dictionary, of samples.
        sockets: whether what is shared can be passed on, see :func:`prepare_passing`.
    """

    def __init__(self, collate: Callable[[Sequence[Any]], Batch], sockets: bool) -> None:
        self._collate, self._sockets = collate, sockets

    def __call__(self, samples: Sequence[Any]) -> Batch | Piped:
        import torch

        batch = self._collate(samples)
        tensors = [value for value in batch.values() if isinstance(value, torch.Tensor)]
        if self._sockets and has_room(sum(tensor.nbytes for tensor in tensors)):
            # Another worker may have taken the room since; the system says so before anything is written.
            with contextlib.suppress(RuntimeError):
                for tensor in tensors:
                    tensor.share_memory_()
                return batch
        return Piped(batch)


class Piped:
    """A batch without shared memory: its tensors are arrays, which are sent as bytes."""

    def __init__(self, batch: Batch) -> None:
        import torch

        self._tensors = [name for name, value in batch.items() if isinstance(value, torch.Tensor)]
        self._values = {name: batch[name].numpy() if name in self._tensors else batch[name] for name in batch}

    def batch(self) -> Batch:
        """Rebuild the batch, in the order of its names."""
        import torch

        return {
            name: torch.from_numpy(value) if name in self._tensors else value
            for name, value in self._values.items()
        }

    def pin_memory(self) -> Batch:
        """Move the batch into page-locked memory; called by PyTorch."""
        return {
            name: value.pin_memory() if name in self._tensors else value
            for name, value in self.batch().items()
        }


def has_room(size: int) -> bool:
    """Check that shared memory has room for so many bytes and still keeps a part free."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return False
    return size <= usage.free - usage.total // _SHARE_FREE


def socket_folder() -> str | None:
    """Find a folder for temporary files whose path is short enough for sockets; None if there is none."""
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp", str(SHARED_MEMORY)):
        if len(os.fsencode(folder)) <= LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return None


def prepare_passing() -> bool:
    """Prepare for worker processes that pass batches: short socket paths, enough open files.

    Returns:
        Whether there is a folder for the sockets.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:  # each tensor on its way is an open file
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    # Python chooses the folder once, at its first use, and worker processes inherit the choice.
    chosen: dict[str, Any] = process.current_process()._config  # type: ignore[attr-defined]
    if len(os.fsencode(chosen.get("tempdir") or "")) > _SOCKET_PATH - _SOCKET_NAME:
        chosen["tempdir"] = None
    folder = socket_folder()
    if chosen.get("tempdir") is None and folder is not None:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            util.get_temp_dir()
        finally:
            tempfile.tempdir = before
    return folder is not None
