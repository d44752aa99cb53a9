"""Where a number comes from: machine, versions, time and memory."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("mamo", "torch", "numpy", "pillow", "tokenizers", "pyarrow")


class Stopwatch:
    """Started when a run starts; says what the run took."""

    def __init__(self) -> None:
        self.began = datetime.now(UTC)
        self.clock = time.monotonic()

    def provenance(self) -> dict[str, Any]:
        """Seconds, memory, machine and versions, as plain JSON values."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "started": self.began.isoformat(timespec="seconds"),
            "wall_seconds": round(time.monotonic() - self.clock, 2),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
            "peak_memory_mb": round(usage.ru_maxrss / 1024),
            "machine": machine(),
            "versions": versions(),
            "code": code_version(),
        }


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
    """Python's version and those of the packages that make the numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def code_version() -> str | None:
    """The commit of the code, with ``+changes`` where the tree differs from it; None outside a git checkout."""
    root = Path(__file__).resolve().parents[2]

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
        return f"{commit}+changes" if git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None
