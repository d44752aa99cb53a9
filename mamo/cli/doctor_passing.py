"""``mamo doctor``: check what data-loading processes need to pass batches to the training process."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator

from mamo.cli.doctor_finding import Diagnosis

# At least two batches of the paper's size, 512 images of 256 pixels, are in flight.
ENOUGH_SHARED = 1 << 30
# Each tensor in flight from 16 processes is an open file.
ENOUGH_FILES = 1024


def check_batch_passing(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check shared memory, the folder of temporary files and the limit of open files."""
    yield _shared_memory()
    yield _temporary_files()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < ENOUGH_FILES:
        yield Diagnosis(
            "wrong",
            f"a process may open {hard} files; training on GPUs may need {ENOUGH_FILES}",
            "raise the hard limit (`ulimit -Hn`; containers: --ulimit nofile=65536)",
        )
    else:
        yield Diagnosis("ok", f"a process may open {'any number of' if hard < 0 else hard} files")


def _shared_memory() -> Diagnosis:
    from mamo.data.batches.passing import SHARED_MEMORY

    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        return Diagnosis(
            "wrong",
            f"{SHARED_MEMORY} cannot be used ({error})",
            "mount a tmpfs there; loading processes need it",
        )
    if not os.access(SHARED_MEMORY, os.W_OK):
        return Diagnosis(
            "wrong", f"{SHARED_MEMORY} cannot be written", "make it writable: chmod 1777, as root"
        )
    what = f"{usage.free / 1e9:.2g} of {usage.total / 1e9:.2g} GB are free in {SHARED_MEMORY}"
    if usage.free < ENOUGH_SHARED:
        fix = "containers: --shm-size=8g or --ipc=host. Batches that do not fit come through pipes, which is slower"
        return Diagnosis("note", what, fix)
    return Diagnosis("ok", what)


def _temporary_files() -> Diagnosis:
    from mamo.data.batches.passing import LONGEST_FOLDER, socket_folder

    requested, folder = os.environ.get("TMPDIR"), tempfile.gettempdir()
    if requested and os.path.realpath(requested) != os.path.realpath(folder):
        return Diagnosis(
            "note",
            f"TMPDIR={requested} cannot be written, so that {folder} takes the temporary files",
            "set TMPDIR to a folder of yours",
        )
    if len(os.fsencode(folder)) <= LONGEST_FOLDER:
        return Diagnosis("ok", f"temporary files go to {folder}")
    sockets = socket_folder()
    return Diagnosis(
        "note",
        f"{folder} has more than {LONGEST_FOLDER} characters, too many for sockets in it; "
        + (f"they go to {sockets}" if sockets else "batches come through pipes, which is slower"),
        "set TMPDIR to a folder with a shorter path",
    )
