"""Finished runs as DVC artifacts: ``artifacts/<scale>/<kind>/<run>.dvc``, one small file in git for each run's directory.

A run's directory has its identity in its name, so an artifact is written once and never changes: a later difference is damage.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mamo.files.stored import StoredError, read_record_file, verify
from mamo.specs.code import git_environment
from mamo.specs.identity import REVISIONS, Run
from mamo.specs.plan import Plan

FOLDER = Path("artifacts")
TEMPORARY = Path(".dvc/tmp/exps")


class DvcError(RuntimeError):
    """DVC failed; the message says what to do."""


def record_runs(plan: Plan, keys: Iterable[str], results: Path) -> list[Path]:
    """Put those of the named runs that are finished into DVC's cache. Returns the new artifacts.

    Args:
        results: the scale's results.

    Raises:
        DvcError: a run's record is not of the spec that its path bears, a run differs from its artifact or from its own
            checksums, the results lie where DVC cannot follow, or DVC fails.
    """
    _inside(results)
    done = [
        plan.runs[key] for key in plan.runs if key in set(keys) and plan.runs[key].record(results).is_file()
    ]
    known: list[Path] = []
    new: list[Path] = []
    for run in done:
        _verify(run, results)
        path = artifact(run, plan.scale.name)
        (known if path.is_file() else new).append(path)
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a checksum until `dvc commit` has put one in.
            up = "/".join([".."] * len(path.parent.parts))
            path.write_text(f"wdir: {up}\nouts:\n- path: {run.directory(results)}\n", encoding="utf-8")
    try:
        _unchanged(known)
        if new:
            for run in done:
                if artifact(run, plan.scale.name) in new:
                    _refuse_damaged(run, results)
            with _no_gitignore_behind(results) as variables:
                dvc("commit", "--force", *map(str, new), variables=variables)
    except BaseException:
        for path in new:
            if "md5" not in path.read_text(encoding="utf-8"):
                path.unlink()
        raise
    return new


def _inside(results: Path) -> None:
    """Refuse results outside of the project's folder, unless a symlink in the folder leads to them."""
    folder = Path.cwd()
    if not Path(os.path.abspath(results)).is_relative_to(folder):
        raise DvcError(
            f"DVC records only what is in the project's folder; the results are elsewhere: `ln -s {results.parent} results` "
            "here, set `results: results` in params.yaml, and call this again"
        )


@contextmanager
def _no_gitignore_behind(results: Path) -> Iterator[dict[str, str]]:
    """Yield variables under which DVC records runs in results that a symlink keeps on another disk; none where they lie here.

    DVC would list a run in the ``.gitignore`` beside it, and refuses where that is outside of the repository. Told to do
    without git, it does not; git itself does not look behind a symlink. Pushing and checking out need no such thing.
    """
    if Path(os.path.realpath(results)).is_relative_to(os.path.realpath(Path.cwd())):
        yield {}
        return
    from configobj import ConfigObj
    from dvc.config import Config

    own = Path(Config.get_dir("global")) / "config"
    config = ConfigObj(str(own) if own.is_file() else None)
    config["core"] = {**config.get("core", {}), "no_scm": "true"}
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "config").open("wb") as file:
            config.write(file)
        yield {"DVC_GLOBAL_CONFIG_DIR": folder}


def artifact(run: Run, scale: str) -> Path:
    """Return the artifact of a run."""
    return FOLDER / scale / run.kind / f"{run.id}.dvc"


def _verify(run: Run, results: Path) -> None:
    """Refuse a record whose spec, inputs and revision do not give the digest in its path."""
    path = run.record(results)
    record = read_record_file(path)
    made = Run(run.kind, run.name, record.spec, record.inputs)
    known = (record.kind, record.revision) == (run.kind, REVISIONS[run.kind])
    if not known or made.digest != run.digest:
        raise DvcError(
            f"{path} does not match the spec in its path, so it is not recorded: delete {path.parent}, and the "
            "run is made again"
        )


def _refuse_damaged(run: Run, results: Path) -> None:
    """Refuse a run whose files do not match the checksums in its record."""
    try:
        verify(run.directory(results))
    except StoredError as error:
        raise DvcError(f"{error}. It is not recorded") from error


def _unchanged(artifacts: list[Path]) -> None:
    """Refuse runs that differ from their artifacts."""
    if not artifacts:
        return
    changed = [name for name in json.loads(dvc("status", "--json", *map(str, artifacts)) or "{}")]
    if changed:
        raise DvcError(
            f"{', '.join(changed)}: the run's directory is not what was recorded under its identity. `dvc checkout --force "
            f"{changed[0]}` puts the recorded one back; delete both to make the run again"
        )


def dvc(*words: str, variables: Mapping[str, str] | None = None) -> str:
    """Run a DVC command and return its output.

    Args:
        variables: of the environment, beside this process's own.

    Raises:
        DvcError: it failed; the message is DVC's, with what to do.
    """
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *words],
        capture_output=True,
        text=True,
        env=git_environment() | {"DVC_NO_ANALYTICS": "1"} | dict(variables or {}),
    )
    if done.returncode:
        raise DvcError(f"dvc {words[0]}: {done.stderr.strip() or done.stdout.strip()}{_advice(done.stderr)}")
    return done.stdout


def _advice(error: str) -> str:
    """Advise what to do about an error from DVC."""
    if "Unable to acquire lock" in error or "is busy" in error:
        return (
            "\nAnother dvc command is at work here: wait for it, or end it, and call this again. If none is, remove "
            ".dvc/tmp/lock and .dvc/tmp/rwlock"
        )
    return ""


def check_repository(root: Path = Path()) -> None:
    """Check that DVC can work here.

    Raises:
        DvcError: DVC is not installed, there is no .dvc folder, or no git repository (unless DVC was told to do without).
    """
    try:
        import dvc  # noqa: F401
    except ImportError:
        raise DvcError("DVC is not installed: install the project with its dependencies") from None
    if not (root / ".dvc").is_dir():
        raise DvcError(
            "this is not a DVC repository: call `dvc init` here (and `git init` before it, without git history)"
        )
    no_scm = "no_scm = true" in _dvc_configuration(root).lower()
    if not no_scm and _git_root(root) is None:
        raise DvcError(
            "this is not a git repository: call `git init`, or `dvc config core.no_scm true` to do without git"
        )


def _dvc_configuration(root: Path) -> str:
    files = (root / ".dvc" / name for name in ("config", "config.local"))
    return "\n".join(file.read_text(encoding="utf-8") for file in files if file.is_file())


def _git_root(root: Path) -> Path | None:
    if shutil.which("git") is None:
        return None
    done = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--show-toplevel"],
        capture_output=True,
        text=True,
        env=git_environment(),
    )
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def share_results(results: Path) -> bool:
    """In a temporary experiment of DVC's: work in the results of the project itself, and say that it is one.

    The identity in a run's path makes that safe: an experiment finds the runs that it shares, its own are not lost with its
    folder, and no run is made twice at once.

    Args:
        results: the folder of all scales' results, as settings name it.
    """
    folder = Path.cwd()
    for parent in folder.parents:
        if TEMPORARY.parts == parent.parts[-len(TEMPORARY.parts) :]:
            project = parent.parents[len(TEMPORARY.parts) - 1]
            if not results.is_absolute() and not results.exists():
                (project / results).mkdir(parents=True, exist_ok=True)
                results.parent.mkdir(parents=True, exist_ok=True)
                results.symlink_to(project / results)
            return True
    return False


def write_tracked_json(values: Mapping[str, Any], path: Path) -> None:
    """Write small values for git, the same text for the same values."""
    replace_if_other((json.dumps(values, indent=1, sort_keys=True) + "\n").encode(), path)


def replace_if_other(content: bytes, path: Path) -> None:
    """Write a file unless it holds just that: an unchanged file keeps its time, and nothing is made again for it."""
    if not path.is_file() or path.read_bytes() != content:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
