"""Data runs: the embedded world in the official release formats, and releases in the internal form."""

from __future__ import annotations

import shutil
from pathlib import Path

from mamo.specs.plan import WORLD
from mamo.specs.world import WorldSpec
from mamo.training.outcome import Outcome
from mamo.training.run import Context, Result, RunError


def release_root(context: Context) -> Path:
    """The folder of releases that a data run reads: the world's, or the user's.

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

        # Written beside and renamed: an interrupted world is begun anew, and never passes for a whole one.
        release, beside = context.directory / "release", context.directory / "release.partial"
        for leftover in (release, beside):
            shutil.rmtree(leftover, ignore_errors=True)
        write_world(WorldSpec.model_validate(spec), beside)
        beside.rename(release)
        return Result(Outcome("converged"), {}, {})
    from mamo.data.prepare import prepare

    manifest = prepare(
        spec["dataset"],
        release_root(context),
        context.directory,
        store_size=spec["store_size"],
        missing_limit=spec["missing_limit"],
        interleave=spec["interleave"],
        limits=spec["limits"],
    )
    metrics = {
        key: float(value) for key, value in manifest["statistics"].items() if isinstance(value, int | float)
    }
    return Result(Outcome("converged"), metrics, {"splits": manifest["splits"]})
