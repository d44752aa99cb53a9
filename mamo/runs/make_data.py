"""Make data runs: the embedded world in the official release formats, and releases in the internal form."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mamo.data.datasets import DATASETS, part_count
from mamo.data.store.manifest import Manifest, PartAccount
from mamo.data.store.parts import FOLDER as PARTS
from mamo.data.store.records import Prepared
from mamo.data.store.writer import MANIFEST, PreparedError
from mamo.files.record import Outcome
from mamo.runs.run import Context, Result, RunError
from mamo.runs.unpacked import unpacked
from mamo.specs.plan import WORLD
from mamo.specs.world import WorldSpec


def release_root(context: Context) -> Path:
    """Return the folder of releases that a data run reads: the world's, or the user's.

    Raises:
        RunError: the user has named none.
    """
    if WORLD in context.run.inputs:
        return context.input(WORLD) / "release"
    if context.releases is None:
        raise RunError(
            f"{context.run.key} reads an official release: name the folder that holds it, by `--releases FOLDER` or as "
            "`releases:` in params.yaml"
        )
    return context.releases


def make_data(context: Context) -> Result:
    """Write the world, or prepare one data set."""
    spec = context.run.spec
    if context.run.name == WORLD:
        from mamo.data.world.generate import write_world

        # Written atomically: an interrupted world starts again and never passes for a complete one.
        release, beside = context.directory / "release", context.directory / "release.partial"
        for leftover in (release, beside):
            shutil.rmtree(leftover, ignore_errors=True)
        write_world(WorldSpec.model_validate(spec), beside)
        beside.rename(release)
        return Result(Outcome("converged"), {}, {})
    root, parts = release_root(context), part_count(spec)
    manifest = _complete_manifest(context.directory)
    if manifest is None:
        manifest = _prepare(context, root, parts)
    # A preparation killed at its very end leaves its parts behind.
    shutil.rmtree(context.directory / PARTS, ignore_errors=True)
    details: dict[str, Any] = {"splits": manifest["splits"]}
    if spec["source"] == "release":
        details |= _count_missing_and_shared(spec["dataset"], root, manifest, context.directory)
    return Result(Outcome("converged"), {}, details)


def _complete_manifest(directory: Path) -> Manifest | None:
    """Read the manifest of a data set that was fully prepared but has no record yet; None without one.

    The run's path carries the digest of its spec, so what lies there was made by it; each file is compared with its checksum.
    """
    if unpacked(directory):  # from a pack: the counts without the files
        (directory / MANIFEST).unlink(missing_ok=True)
    if not (directory / MANIFEST).is_file():
        return None
    try:
        prepared = Prepared(directory)
        prepared.verify()
        return prepared.manifest
    except (PreparedError, ValueError) as error:
        print(f"warning: {error}", file=sys.stderr)
        (directory / MANIFEST).unlink()
        return None


def _prepare(context: Context, root: Path, parts: int) -> Manifest:
    spec = context.run.spec
    settings = {key: spec[key] for key in ("store_size", "missing_limit", "interleave")}
    if parts > 1:
        from mamo.data.store.parts import join_parts

        # Parts prepared by other jobs exist already; make the missing ones here.
        for part in range(parts):
            make_part(context, part, parts)
        return join_parts(spec["dataset"], root, context.directory, parts, **settings)
    from mamo.data.store.prepare import prepare

    workers = context.options.threads
    return prepare(
        spec["dataset"], root, context.directory, **settings, limits=spec["limits"], workers=workers
    )


def make_part(context: Context, part: int, parts: int, wait: bool = False) -> PartAccount:
    """Prepare one part of a large release, counted from 0.

    Raises:
        RunError: the run is not cut into so many parts, or (without ``wait``) another process is making this one.
    """
    from mamo.data.store.parts import part_name, write_part

    spec, planned = context.run.spec, part_count(context.run.spec)
    if parts != planned:
        raise RunError(f"{context.run.key} is prepared in {planned} parts, not in {parts}")
    lock = context.directory / PARTS / f".lock-{part_name(part, parts)}"
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=-1 if wait else 0):
            return write_part(
                spec["dataset"],
                release_root(context),
                context.directory,
                part,
                parts,
                store_size=spec["store_size"],
                workers=context.options.threads,
            )
    except Timeout:
        raise RunError(
            f"{context.run.key}: part {part + 1} is being made by another process (it holds {lock})"
        ) from None


def _count_missing_and_shared(
    dataset: str, root: Path, manifest: Manifest, directory: Path
) -> dict[str, Any]:
    """Count the paper's images missing from a release, and its training images that are test images elsewhere."""
    from mamo.data.releases.overlap import FILE, counts, overlap
    from mamo.files.writing import write_json

    details: dict[str, Any] = {}
    counted = DATASETS[dataset].paper_images
    if counted:
        got = manifest["splits"]["train"]["images"]
        details["of_the_paper"] = {"images": got, "paper": counted, "share": round(got / counted, 4)}
    shared_images = overlap(dataset, root)
    if shared_images:
        write_json(directory / FILE, shared_images)
        details["overlap"] = counts(shared_images)
    return details
