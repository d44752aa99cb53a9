"""Record the provenance of a run: machine, versions, code, time and memory."""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from mamo.files.writing import write_text
from mamo.runs.run import CHECKPOINTS
from mamo.specs.code import CHANGED, PACKAGE, Code, running_code, tree_digest

PACKAGES = ("mamo", "torch", "numpy", "pillow", "tokenizers", "pyarrow")


# File beside the checkpoints with the code that they come from.
BEGUN = ".code.json"


class Stopwatch:
    """Measure a run from its start: time and memory, and the code that makes it."""

    def __init__(self, directory: Path) -> None:
        self.began = datetime.now(UTC)
        self.clock = time.monotonic()
        self.code = running_code()
        self.earlier = _earlier_code(directory, self.code)

    def provenance(self) -> dict[str, Any]:
        """Seconds, memory, machine, versions and code, as plain JSON values.

        ``code`` is the commit, with ``+changes`` where the package differs from it (by tracked files or by others) or was
        edited while the run was made (then ``code_edited`` is true), and None outside of a repository; ``code_digest`` is of
        all files of the package as they were when the run started.
        ``earlier_code`` is there if other code started the run than finished it.
        """
        usage, edited = resource.getrusage(resource.RUSAGE_SELF), tree_digest(PACKAGE) != self.code.digest
        return {
            "started": self.began.isoformat(timespec="seconds"),
            "wall_seconds": round(time.monotonic() - self.clock, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_memory_mb": round(usage.ru_maxrss / 1024),
            "machine": machine(),
            "versions": versions(),
            **_words(self.code, edited),
        } | ({"earlier_code": self.earlier} if self.earlier else {})


def _words(code: Code, edited: bool = False) -> dict[str, Any]:
    name = f"{code.commit}{CHANGED if code.changed or edited else ''}" if code.commit else None
    return {"code": name, "code_digest": code.digest} | ({"code_edited": True} if edited else {})


def _earlier_code(directory: Path, code: Code) -> list[dict[str, Any]]:
    """Return the other code whose checkpoints this run resumes from, and record ``code`` beside this run's own checkpoints."""
    path, known = directory / BEGUN, []
    if any((directory / CHECKPOINTS).glob("step-*")):
        with suppress(OSError, ValueError):
            known = [
                entry for entry in json.loads(path.read_text(encoding="utf-8")) if isinstance(entry, dict)
            ]
    entries = {str(entry.get("code_digest")): entry for entry in known} | {code.digest: _words(code)}
    if int(os.environ.get("RANK", 0)) == 0:
        write_text(path, json.dumps(list(entries.values())) + "\n")
    return [entry for digest, entry in entries.items() if digest != code.digest]


def machine() -> dict[str, Any]:
    """Processor, cores and GPU (if torch is loaded and sees one)."""
    import sys

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    found: dict[str, Any] = {"cpu": name, "cores": os.cpu_count(), "system": platform.platform(terse=True)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that affect numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
