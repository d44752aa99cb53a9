"""The stages of ``dvc.yaml``: one for each data set, table and figure of a scale, and one for its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mamo.reporting.pages import INDEX, OVERVIEW, pages_of
from mamo.reporting.tracked import CURVES, metrics_file
from mamo.specs.figure import figure_files
from mamo.specs.plan import WORLD, Plan

REPORT = "report"
DATA = "data-"
HEADER = """\
# Made by `mamo dvc write` from the ablation files and the scale that params.yaml names; `mamo dvc check` says whether it is up
# to date. A stage calls `mamo dvc run`, which works through Snakemake (with the profile that params.yaml or SNAKEMAKE_PROFILE
# names) and records finished runs in artifacts/. What a stage makes here is small and belongs to git.
"""


def data_file(dataset: str) -> str:
    """Return a prepared data set's identity and manifest, below ``reports/<scale>``."""
    return f"data/{dataset}.json"


def datasets_of(plan: Plan) -> dict[str, str]:
    """Return the planned data sets: name -> the key of the run that prepares it."""
    return {run.name: run.key for run in plan.by_kind("data") if run.name != WORLD}


def dvc_yaml(plan: Plan, ablations: Path) -> str:
    """Write dvc.yaml for a plan, with the ablations that the scale makes when they are named."""
    pages = pages_of(plan, ablations)
    scales = f"{ablations}/scales"
    stages: dict[str, Any] = {}
    for name in datasets_of(plan):
        stages[f"{DATA}{name}"] = _stage(f"{DATA}{name}", ["mamo/specs", scales], [data_file(name)])
    tables = plan.tables | plan.others
    for name, page in pages.items():
        if name in tables:
            paper = tables[name].ablation.paper
            given = ["mamo/reporting", scales, f"{ablations}/{name}.yaml"]
            given += sorted(map(str, (ablations / "paper").rglob(f"{paper}.yaml"))) if paper else []
        elif name in plan.figures:
            given = ["mamo/figures", "mamo/explain", scales, *map(str, figure_files(name, ablations))]
        elif page.inputs:  # the claims, which read every table
            given = ["mamo/reporting", str(ablations)]
        else:
            continue
        files = [file for file in page.files if file != metrics_file(name)]
        stages[name] = _stage(name, ["mamo/specs", *given], files)
        if name in tables:
            stages[name]["metrics"] = [_small(metrics_file(name))]
    given = ["mamo/specs", "mamo/reporting", "mamo/figures", "mamo/explain", str(ablations)]
    files = [*pages[OVERVIEW].files, *pages[INDEX].files]
    stages[REPORT] = _stage(REPORT, given, [*(file for file in files if not file.startswith(CURVES)), CURVES])
    settings = sorted(
        str(path) for path in [*(ablations / "scales").glob("*.yaml"), *ablations.glob("*.yaml")]
    )
    # Shown by `dvc params diff`. A stage goes by the bytes of these files, since DVC takes `false` and `0` for equal.
    curves = {_path(CURVES): {"x": "step", "y": "loss"}}
    whole = {"stages": stages, "plots": [curves], "params": settings}
    return HEADER + yaml.safe_dump(whole, sort_keys=False, width=130)


def _stage(name: str, dependencies: list[str], files: list[str] | tuple[str, ...]) -> dict[str, Any]:
    return {
        "cmd": f"mamo dvc run {name}",
        "deps": dependencies,
        # What a data set is does not depend on how many runs read it.
        "params": ["scale"] if name.startswith(DATA) else ["scale", "seeds"],
        "outs": [_small(file) for file in files],
    }


def _small(file: str) -> dict[str, Any]:
    """Return the entry of a file that belongs to git; DVC does not remove it before the stage."""
    return {_path(file): {"cache": False, "persist": True}}


def _path(file: str) -> str:
    return f"${{reports}}/${{scale}}/{file}"
