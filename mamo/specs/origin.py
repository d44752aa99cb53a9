"""Find the file that sets a key of a run's spec, so that a change can be traced to where it was made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.specs.identity import Run, SpecValues
from mamo.specs.overrides import load_yaml
from mamo.specs.plan import WORLD, Plan

DEFAULT = "a default of mamo/specs"


def origin(plan: Plan, run: Run, key: str, ablations: Path) -> str:
    """Find the place that gives a run's key its value, e.g. ``ablations/table5.yaml, row 'full': objectives.mrm``.

    Args:
        key: dotted, as in the run's spec.
    """
    if run.kind == "pretrain":
        for table in (plan.tables | plan.others).values():
            rows = {row.key: row for row in table.ablation.rows}
            for name, keys in table.pretrainings.items():
                if run.key in keys:
                    file = f"{ablations}/{table.ablation.name}.yaml"
                    for words, given in ((f"row '{name}'", rows[name].set), ("base", table.ablation.base)):
                        for dotted in given:
                            if _same_branch(dotted, key):
                                return f"{file}, {words}: {dotted}"
    dotted = _in_scale(plan, run, key)
    for path, values in scale_files(plan.scale.name, ablations):
        if _sets(values, dotted):
            return f"{path}: {dotted}"
    return DEFAULT


def scale_files(name: str, ablations: Path) -> list[tuple[Path, dict[str, Any]]]:
    """Read the file of a scale and those that it extends, nearest first."""
    files: list[tuple[Path, dict[str, Any]]] = []
    while name:
        path = ablations / "scales" / f"{name}.yaml"
        values = load_yaml(path)
        files.append((path, values))
        name = values.get("extends", "")
    return files


def _same_branch(one: str, other: str) -> bool:
    """Check whether two dotted keys are equal, or one is a section that contains the other."""
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _in_scale(plan: Plan, run: Run, key: str) -> str:
    """Translate a key of a run's spec to a key of the scale's file."""
    if run.kind == "pretrain":
        return f"pretrain.{key}"
    if run.kind == "data":
        if run.name == WORLD:
            return f"data.world.{key}"
        return "data.source" if key == "source" else f"data.datasets.{run.spec['dataset']}.{key}"
    if run.kind == "weights":
        return f"pretrain.{key}" if key.startswith("model") else f"weights.{run.spec['role']}.{key}"
    job = run.name.removesuffix(f"-{plan.runs[run.inputs['init']].name}")
    return f"jobs.{job}.{key}"


def _sets(values: SpecValues, dotted: str) -> bool:
    """Check whether a file sets the dotted key, or switches off a section above it."""
    section: Any = values
    for part in dotted.split("."):
        if not isinstance(section, Mapping):
            return True
        if part not in section:
            return False
        section = section[part]
    return True
