"""Identify the code that makes a result: the commit, and a digest of the source files whether or not git tracks them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

PACKAGE = Path(__file__).resolve().parents[1]
CHANGED = "+changes"
_LENGTH = 16
_SECONDS = 60
# Git sets these for its hooks, and a shell may too; each would point git at a repository other than the code's own.
_LOCAL = (
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_NAMESPACE "
    "GIT_PREFIX GIT_SHALLOW_FILE GIT_GRAFT_FILE GIT_REPLACE_REF_BASE GIT_NO_REPLACE_OBJECTS GIT_IMPLICIT_WORK_TREE "
    "GIT_CONFIG GIT_CONFIG_PARAMETERS"
).split()


@dataclass(frozen=True)
class Code:
    """The code that a process runs.

    Attributes:
        commit: of its repository, twelve digits; None if no repository tracks the package.
        changed: whether the package differs from that commit, including files that git does not track.
        digest: digest of every file of the package.
    """

    commit: str | None
    changed: bool
    digest: str

    def __str__(self) -> str:
        return f"{self.commit or 'no commit'}{CHANGED if self.changed else ''}"


def git_environment() -> dict[str, str]:
    """Return the environment without the variables that would point git at another repository than its working folder's."""
    return {name: value for name, value in os.environ.items() if name not in _LOCAL}


@cache
def running_code() -> Code:
    """Return the code of this process, as it was on disk at the first call.

    Long-running processes call this early, so that a later edit is not mistaken for the code that ran.
    """
    digest = tree_digest(PACKAGE)
    commit = _git("rev-parse", "--short=12", "HEAD")
    committed = commit_digest(commit) if commit else None
    return Code(commit if committed else None, bool(committed) and committed != digest, digest)


def tree_digest(package: Path) -> str:
    """Compute the digest of a package's files: paths and bytes, without caches and editors' files."""
    files = (path for path in sorted(package.rglob("*")) if path.is_file())
    return _files_digest((path.relative_to(package).as_posix(), path.read_bytes()) for path in files)


@cache
def commit_digest(commit: str, package: Path = PACKAGE) -> str | None:
    """Compute the digest of the package in a commit; None if the repository lacks the commit or the package."""
    # Call git within the folder, so that paths are relative to it.
    packed = _git_bytes("archive", "--format=tar", commit, ".", folder=package)
    if not packed:
        return None
    files = []
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files.append((PurePosixPath(member.name).as_posix(), content.read()))
    return _files_digest(sorted(files)) if files else None


def _files_digest(files: Iterable[tuple[str, bytes]]) -> str:
    total = hashlib.sha256()
    for name, content in sorted(files):
        parts = PurePosixPath(name).parts
        if any(part.startswith((".", "__pycache__")) for part in parts) or name.endswith((".pyc", "~")):
            continue
        total.update(f"{name}\0{hashlib.sha256(content).hexdigest()}\n".encode())
    return total.hexdigest()[:_LENGTH]


def _git(*words: str) -> str | None:
    out = _git_bytes(*words)
    return out.decode(errors="replace").strip() if out else None


def _git_bytes(*words: str, folder: Path = PACKAGE) -> bytes | None:
    """Run git within the folder and return its output; None if it fails or is not installed."""
    # Git refuses a checkout owned by another user, although its code is already running.
    command = ["git", "-c", "safe.directory=*", *words]
    try:
        done = subprocess.run(
            command, cwd=folder, env=git_environment(), capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
