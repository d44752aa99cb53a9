"""Explain faults of the machine in words: a full or read-only disk, no memory left, a data worker that died.

The code is not at fault, so the message names the thing, the place and the fix instead of a traceback. Such a run has no
result: without a record it is not done, and the same command resumes it.
"""

from __future__ import annotations

import errno
import re

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CLOSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
UNLOCKED = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
AGAIN = "the same command resumes from what is complete"


def describe_fault(error: BaseException) -> str | None:
    """Give the cause and its fix in one sentence; None if the machine is not the cause."""
    number, text = _error_number(error), str(error)
    place = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
    if number in FULL:
        return f"no space is left on the disk, or its quota is used up{place}: free some, and {AGAIN}"
    if number in CLOSED:
        return f"a file or folder cannot be used{place}: {text}. Make it writable, or choose another by --results; {AGAIN}"
    if isinstance(error, RuntimeError) and "DataLoader timed out" in text:
        return (
            "the processes that load data gave no batch for minutes: the disk that holds the prepared data does not answer, or "
            f"batches cannot be passed on, for which `mamo doctor` looks at /dev/shm, TMPDIR and open files; then {AGAIN}"
        )
    if isinstance(error, RuntimeError) and (
        "shared memory" in text or "Bus error" in text or "/torch_" in text
    ):
        return (
            "shared memory (/dev/shm) is used up: make it larger (containers: --shm-size=8g or --ipc=host), or run less beside "
            f"it; {AGAIN}"
        )
    if isinstance(error, RuntimeError) and "Too many open files" in text:
        return f"too many files are open: raise the limit (ulimit -n 65536), and {AGAIN}"
    if number in UNLOCKED:
        return (
            f"this file system does not support locks{place}, and without one two processes could make the same run: {text}. "
            "Choose a folder on another disk by --results, or have this one mounted with locks (NFS: local_lock=flock, or a "
            f"running lockd); {AGAIN}"
        )
    if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")) or "torch._inductor" in text:
        return f"torch.compile cannot compile the layers here ({_compiler(error)}): call it without --compile; {AGAIN}"
    if "DataLoader worker" in text and isinstance(error, RuntimeError):
        how = re.search(r"killed by signal: ([\w ]+)", text)
        return (
            f"a process that loads data has died{f' ({how[1].strip()})' if how else ''}, which mostly means that the machine "
            f"ran out of memory (its kernel's log says so): free some, and {AGAIN}"
        )
    if type(error).__name__ == "OutOfMemoryError":
        return (
            f"the GPU's memory is used up: call it with --micro-batch N, --activation-checkpointing or both, and {AGAIN} "
            f"({text.splitlines()[0]})"
        )
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in text):
        return (
            f"the machine's memory is used up: run less beside it, or call it with --micro-batch N; {AGAIN}"
        )
    return None


def _compiler(error: BaseException) -> str:
    """Summarise why compiling fails, in one line."""
    text = " ".join(str(error).split())
    if re.search(r"(No working C\+\+|find working C|Failed to find C|InvalidCxxCompiler)", text):
        return "no C++ compiler was found: install one, such as g++, or name it in the variable CXX"
    return f"{type(error).__name__}: {text[:200]}"


def _error_number(error: BaseException) -> int | None:
    """Return the system's error number; some libraries give it only in their message."""
    if isinstance(error, OSError):
        return error.errno
    match = re.search(r"os error (\d+)", str(error)) if type(error).__name__ == "SafetensorError" else None
    return int(match[1]) if match else None
