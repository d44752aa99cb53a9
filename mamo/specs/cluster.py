"""Resources that each kind of job requests from a cluster: by the scale, and as a site sets ``MAMO_<KIND>_<WHAT>``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from mamo.specs.identity import Run
from mamo.specs.names import nearest
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan

JobKind = Literal["prepare_part", "prepare", "weights", "pretrain", "finetune", "maps"]
Divided = Literal["pretrain", "finetune"]
WHAT = ("partition", "gpus", "nodes", "cpus", "mem_mb", "runtime")


class Size(NamedTuple):
    """Size of one job: GPUs, cores and memory of a node, minutes. With several GPUs, cores and memory are per GPU."""

    gpus: int
    cores: int
    mem_mb: int
    runtime: int


# Sizes of a job with the paper's models on a cluster's GPUs, and of one with smaller models.
LARGE: dict[JobKind, Size] = {
    "prepare_part": Size(0, 8, 16000, 480),
    "prepare": Size(0, 16, 32000, 2880),
    "weights": Size(1, 8, 32000, 240),
    "pretrain": Size(8, 8, 62500, 4320),
    "finetune": Size(1, 8, 64000, 1440),
    "maps": Size(1, 8, 32000, 60),
}
SMALL: dict[JobKind, Size] = {
    "prepare_part": Size(0, 4, 8000, 240),
    "prepare": Size(0, 4, 8000, 120),
    "weights": Size(1, 4, 8000, 120),
    "pretrain": Size(1, 4, 16000, 600),
    "finetune": Size(1, 4, 16000, 240),
    "maps": Size(1, 4, 8000, 60),
}
Resource = int | str
Resources = Mapping[str, Resource]
"""What a job asks Snakemake's SLURM executor for, by name."""
# Kinds of jobs that several processes can share.
DIVIDED: tuple[Divided, ...] = ("pretrain", "finetune")


def is_large(plan: Plan) -> bool:
    """Check whether a scale's models are of the paper's size."""
    return plan.scale.pretrain.model.width >= 512


def resources_of(
    plan: Plan, kind: JobKind, environment: Mapping[str, str] = os.environ
) -> dict[str, Resource]:
    """Return a kind of job's resources for Snakemake's SLURM executor; memory is per node, time in minutes.

    Raises:
        SpecError: a variable of the environment is unknown or has a wrong value.
    """
    site = _site(kind, environment)
    size = (LARGE if is_large(plan) else SMALL)[kind]
    nodes = _parse_whole(site, kind, "nodes", 1)
    model, gpus = None, 0
    if size.gpus:
        model, gpus = (
            _parse_gpus(site["gpus"], kind)
            if "gpus" in site
            else (None, _fitting(plan, kind, size.gpus, nodes))
        )
    share = max(1, gpus)
    resources: dict[str, Resource] = {
        "nodes": nodes,
        "cpus_per_task": _parse_whole(site, kind, "cpus", size.cores * share),
        "slurm_partition": site.get("partition") or _partition(bool(size.gpus), environment),
        "mem_mb": _parse_whole(site, kind, "mem_mb", size.mem_mb * share),
        "runtime": _parse_whole(site, kind, "runtime", size.runtime),
    }
    if nodes > 1:  # reached through srun by one torchrun on each
        named = f"{model}:{gpus}" if model else str(gpus)
        resources |= {"gres": f"gpu:{named}"} if gpus else {}
        return resources | {"mpi": "srun", "tasks": nodes, "tasks_per_gpu": 0}  # one a node, not one a GPU
    if gpus:
        resources |= {"gpu": gpus} | ({"gpu_model": model} if model else {})
    return resources


def processes(resources: Resources) -> tuple[int, int]:
    """Return how many processes a job starts on each node, one for each GPU, and on how many nodes.

    ``gpu`` counts those of all nodes, ``gres`` (``gpu``, ``gpu:2``, ``gpu:a100:2``, ``gpu:3g.20gb:1``) those of each.
    """
    nodes = int(resources.get("nodes") or 1)
    gres = resources.get("gres")
    per_node = gres_gpus(str(gres)) if gres else int(resources.get("gpu") or 0) // nodes
    return max(1, per_node), nodes


def gres_gpus(gres: str) -> int:
    """Read the GPUs of each node from ``gres``. The count is the last field if that is a number, otherwise 1."""
    count = 0
    for resource in gres.split(","):
        name, *fields = resource.split("(")[0].split(":")  # (S:0-1) names sockets
        if name == "gpu":
            count += int(fields[-1]) if fields and fields[-1].isdigit() else 1
    return count


def why_indivisible(run: Run, ranks: int) -> str | None:
    """Explain why ``ranks`` processes cannot share a run; None if they can."""
    batch, objectives = run.spec["batch_size"], run.spec.get("objectives", {})
    if batch % ranks:
        return f"{run.key}: batch_size {batch} is not a multiple of {ranks} processes"
    group = objectives.get("itm_group")
    if objectives.get("itc") and objectives.get("itm") and batch // ranks % group:
        return f"{run.key}: each of {ranks} processes has {batch // ranks} pairs, no multiple of objectives.itm_group {group}"
    return None


def why_not_runnable(plan: Plan, kind: Divided, resources: Resources) -> Iterator[str]:
    """Explain why runs of a kind cannot be made with the GPUs that their jobs request."""
    per_node, nodes = processes(resources)
    yield from filter(None, (why_indivisible(run, per_node * nodes) for run in plan.by_kind(kind)))


def _fitting(plan: Plan, kind: JobKind, most: int, nodes: int) -> int:
    """Return the most GPUs of a node, up to ``most``, that all runs of a kind can share."""
    runs = plan.by_kind(kind) if kind == "pretrain" else []
    counts = range(most, 0, -1)
    return next(
        (count for count in counts if not any(why_indivisible(run, count * nodes) for run in runs)), 1
    )


def _site(kind: JobKind, environment: Mapping[str, str]) -> dict[str, str]:
    """Read the environment's settings for a kind of job."""
    kinds = sorted(LARGE, key=len, reverse=True)
    settings = {}
    for name, value in environment.items():
        owner = next((other for other in kinds if name.startswith(f"MAMO_{other}_".upper())), None)
        if owner != kind or not value:
            continue
        what = name.removeprefix(f"MAMO_{kind}_".upper()).lower()
        if what not in WHAT:
            known = {f"MAMO_{kind}_{setting}".upper(): None for setting in WHAT}
            raise SpecError(f"{name}: no such variable{nearest(name, known)} ({', '.join(known)})")
        settings[what] = value
    return settings


def _parse_whole(site: Mapping[str, str], kind: JobKind, what: str, default: int) -> int:
    value = site.get(what, str(default))
    if not (value.isdecimal() and int(value) > 0):
        raise SpecError(f"MAMO_{kind}_{what}".upper() + f"={value}: give a whole number above 0")
    return int(value)


def _parse_gpus(value: str, kind: JobKind) -> tuple[str | None, int]:
    """Parse ``4`` -> (None, 4), ``a100:2`` -> ("a100", 2), ``a100`` -> ("a100", 1)."""
    model, _, count = value.rpartition(":")
    if not count.isdecimal():
        model, count = value, "1"
    if model and not re.fullmatch(r"[A-Za-z0-9_.]+", model):
        raise SpecError(
            f"MAMO_{kind}_gpus".upper()
            + f"={value}: give a number, or a type and a number such as a100:2; a type has letters, "
            "digits, dots and underscores"
        )
    return model or None, int(count)


def _partition(gpu: bool, environment: Mapping[str, str]) -> str:
    name, default = ("MAMO_GPU_PARTITION", "gpu") if gpu else ("MAMO_CPU_PARTITION", "cpu")
    return environment.get(name) or default
