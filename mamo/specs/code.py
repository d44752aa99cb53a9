"""Which code made a result: the commit, and a digest of the source that runs, whatever git knows of it."""

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
# Git sets them for its hooks, and a shell may have them set: each would lead to another repository than the code's own.
_LOCAL = (
    "GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_NAMESPACE "
    "GIT_PREFIX GIT_SHALLOW_FILE GIT_GRAFT_FILE GIT_REPLACE_REF_BASE GIT_NO_REPLACE_OBJECTS GIT_IMPLICIT_WORK_TREE "
    "GIT_CONFIG GIT_CONFIG_PARAMETERS"
).split()


@dataclass(frozen=True)
class Code:
    """The code of a process.

    Attributes:
        commit: of its repository, twelve digits; None where the package is not in one, or in one that does not track it.
        changed: whether the package differs from that commit, be it by a file that git does not track.
        digest: of every file of the package.
    """

    commit: str | None
    changed: bool
    digest: str

    def __str__(self) -> str:
        return f"{self.commit or 'no commit'}{CHANGED if self.changed else ''}"


def git_environment() -> dict[str, str]:
    """The environment without the variables that would point git at another repository than its working folder's."""
    return {name: value for name, value in os.environ.items() if name not in _LOCAL}


@cache
def running_code() -> Code:
    """The code of this process, as it lay on disk when it was first asked for.

    Whoever may start long before a run's result is written asks early, so that a later edit is not taken for what ran.
    """
    digest = tree_digest(PACKAGE)
    commit = _git("rev-parse", "--short=12", "HEAD")
    committed = commit_digest(commit) if commit else None
    return Code(commit if committed else None, bool(committed) and committed != digest, digest)


def tree_digest(package: Path) -> str:
    """The digest of a package's files: paths and bytes, without what Python and editors leave beside them."""
    files = (path for path in sorted(package.rglob("*")) if path.is_file())
    return _digest((path.relative_to(package).as_posix(), path.read_bytes()) for path in files)


@cache
def commit_digest(commit: str, package: Path = PACKAGE) -> str | None:
    """The digest that a commit's version of the package has; None where the repository lacks the commit or the package."""
    # From within the folder: a commit names the folder's own part of the repository.
    packed = _git_bytes("archive", "--format=tar", commit, ".", folder=package)
    if not packed:
        return None
    files = []
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isfile() else None
            if content is not None:
                files.append((PurePosixPath(member.name).as_posix(), content.read()))
    return _digest(sorted(files)) if files else None


def _digest(files: Iterable[tuple[str, bytes]]) -> str:
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
    """What git says within the folder; None where it fails or is not there."""
    # A checkout that several people share belongs to one of them: git would refuse it, though its code is running already.
    command = ["git", "-c", "safe.directory=*", *words]
    try:
        done = subprocess.run(
            command, cwd=folder, env=git_environment(), capture_output=True, timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
