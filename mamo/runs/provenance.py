"""Record the provenance of a run: machine, versions, code, time and memory."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import ValidationError

from mamo.files.record import CodeVersion, Provenance
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

    def provenance(self) -> Provenance:
        """Return the seconds, memory, machine, versions and code.

        The commit has ``+changes`` where the package differs from it (by tracked files or by others) or was edited while the
        run was made. The digest is of all files of the package as they were when the run started.
        """
        usage, edited = resource.getrusage(resource.RUSAGE_SELF), tree_digest(PACKAGE) != self.code.digest
        earlier = {"earlier_code": tuple(self.earlier)} if self.earlier else {}
        return Provenance(
            started=self.began.isoformat(timespec="seconds"),
            wall_seconds=round(time.monotonic() - self.clock, 2),
            cpu_seconds=round(usage.ru_utime + usage.ru_stime, 2),
            peak_memory_mb=round(usage.ru_maxrss / 1024),
            machine=machine(),
            versions=versions(),
            **_version(self.code, edited).as_json(),
            **earlier,
        )


def _version(code: Code, edited: bool = False) -> CodeVersion:
    name = f"{code.commit}{CHANGED if code.changed or edited else ''}" if code.commit else None
    if edited:
        return CodeVersion(code=name, code_digest=code.digest, code_edited=True)
    return CodeVersion(code=name, code_digest=code.digest)


def _earlier_code(directory: Path, code: Code) -> list[CodeVersion]:
    """Return the other code whose checkpoints this run resumes from, and record ``code`` beside this run's own checkpoints."""
    path = directory / BEGUN
    known: list[CodeVersion] = []
    if any((directory / CHECKPOINTS).glob("step-*")):
        # A damaged note must not stop the run: the earlier code is then unknown.
        with suppress(OSError, ValueError, ValidationError):
            known = [
                CodeVersion.model_validate(entry) for entry in json.loads(path.read_text(encoding="utf-8"))
            ]
    entries = {str(entry.code_digest): entry for entry in known} | {code.digest: _version(code)}
    if int(os.environ.get("RANK", 0)) == 0:
        write_text(path, json.dumps([entry.as_json() for entry in entries.values()]) + "\n")
    return [entry for digest, entry in entries.items() if digest != code.digest]


def machine() -> dict[str, str | int | None]:
    """Return the processor, cores and GPU (if torch is loaded and sees one)."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    facts: dict[str, str | int | None] = {
        "cpu": name,
        "cores": os.cpu_count(),
        "system": platform.platform(terse=True),
    }
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def versions() -> dict[str, str]:
    """Return versions of Python and of the packages that affect numbers."""
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
