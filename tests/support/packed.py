"""Records as packs hold them, and packs that somebody has changed."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mamo.specs.identity import REVISIONS, Run


def record_of(run: Run, cpu: str = "Alpha", **more: Any) -> dict[str, Any]:
    """Write the record of a finished run of scale smoke."""
    record = {
        "run": run.id,
        "kind": run.kind,
        "name": run.name,
        "scale": "smoke",
        "spec": dict(run.spec),
        "inputs": dict(run.inputs),
        "revision": REVISIONS[run.kind],
        "outcome": {"status": "converged", "reason": ""},
        "metrics": {},
        "details": {},
        "provenance": {"machine": {"cpu": cpu}},
    }
    return record | more


def repack(pack: Path, how: Callable[[dict[str, bytes]], None]) -> None:
    """Change the files of a pack, as somebody else might."""
    with tarfile.open(pack) as archive:
        files = {}
        for entry in archive:
            stream = archive.extractfile(entry)
            assert stream is not None
            files[entry.name] = stream.read()
    how(files)
    write_tar(pack, files.items())


def write_tar(out: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write a pack's archive with any files."""
    with tarfile.open(out, "w:xz") as archive:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
