"""``mamo doctor --slurm``: check that a cluster answers and would accept each kind of job as the profile requests it."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.cli.doctor_finding import Diagnosis
from mamo.specs.cluster import DIVIDED, LARGE, JobKind, Resource, Resources, resources_of, why_not_runnable
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan

# Snakemake polls the states of jobs at intervals that grow to three minutes.
LONGEST_INTERVAL = 180
SITE = "MAMO_GPU_PARTITION, MAMO_CPU_PARTITION, MAMO_ACCOUNT and MAMO_<KIND>_<WHAT> set it: docs/cluster.md"


def check_cluster(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check the cluster."""
    if shutil.which("sbatch") is None:
        yield Diagnosis("wrong", "sbatch is not found", "call this on a login node, or load SLURM's module")
        return
    try:
        pinged = _run_program("scontrol", "ping")
    except subprocess.TimeoutExpired:
        pinged = None
    if pinged is None or pinged.returncode or "UP" not in pinged.stdout:
        answer = (pinged.stdout + pinged.stderr).strip() if pinged else "no answer"
        yield Diagnosis(
            "wrong", f"SLURM's controller: {answer}", "ask the cluster's people; without it every call waits"
        )
        return
    yield Diagnosis(
        "ok", f"{pinged.stdout.strip().splitlines()[0]}, {_run_program('sbatch', '--version').stdout.strip()}"
    )
    yield from _check_configuration()
    name = args.profile or "slurm"
    profile = _read_profile(name)
    if profile is None:
        yield Diagnosis(
            "wrong",
            f"there is no profile '{name}'",
            "call this in the project's root, or name one by --profile",
        )
        return
    try:
        plan = options.read_plan(args, others=True)
        resources = {kind: requested_resources(plan, kind, profile) for kind in LARGE}
    except SpecError as error:
        yield Diagnosis("wrong", str(error), SITE)
        return
    yield from _kinds(resources)
    yield from _divisions(plan, resources)
    if args.job:
        yield _check_node(resources["finetune"])


def _check_configuration() -> Iterator[Diagnosis]:
    text = _run_program("scontrol", "show", "config").stdout
    min_job_age = re.search(r"^MinJobAge\s*=\s*(\d+)", text, re.MULTILINE)
    accounted = "accounting_storage/none" not in text
    if min_job_age and int(min_job_age[1]) < LONGEST_INTERVAL and not accounted:
        yield Diagnosis(
            "wrong",
            f"SLURM forgets jobs after {min_job_age[1]} s (MinJobAge) and keeps no accounts",
            f"ask for MinJobAge of {2 * LONGEST_INTERVAL} or more, or for an accounting database",
        )
    elif min_job_age:
        yield Diagnosis(
            "ok",
            f"ended jobs are known for {min_job_age[1]} s" + (", and in the accounts" if accounted else ""),
        )
    waits = re.search(r"^KillWait\s*=\s*(\d+)", text, re.MULTILINE)
    if waits:
        yield Diagnosis(
            "note", f"a job has {waits[1]} s between being asked to stop and being killed, to save its state"
        )


def _read_profile(name: str) -> dict[str, Resource] | None:
    """Read a Snakemake profile as Snakemake does."""
    import yte

    places = [Path(name), Path.home() / ".config/snakemake" / name, Path("/etc/xdg/snakemake") / name]
    for path in (place / file for place in places for file in ("profile.yaml", "config.yaml")):
        if path.is_file():
            with path.open(encoding="utf-8") as file:
                profile: dict[str, Any] = yte.process_yaml(file, require_use_yte=True)
            return profile
    return None


def requested_resources(plan: Plan, kind: JobKind, profile: Mapping[str, Any]) -> dict[str, Resource]:
    """Return the resources of a kind of job: profile defaults, then the scale's or site's sizes, then the profile's
    ``set-resources``."""
    set_for_it = profile.get("set-resources", {}).get(kind, {})
    return {**profile.get("default-resources", {}), **resources_of(plan, kind), **set_for_it}


def _divisions(plan: Plan, resources: Mapping[JobKind, Resources]) -> Iterator[Diagnosis]:
    """Check that the processes of each training can share its batch evenly."""
    for kind in DIVIDED:
        problems = list(why_not_runnable(plan, kind, resources[kind]))
        if problems:
            more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
            fix = f"MAMO_{kind.upper()}_GPUS and MAMO_{kind.upper()}_NODES say how many processes there are: docs/cluster.md"
            yield Diagnosis("wrong", f"{problems[0]}{more}", fix)


def _kinds(asked_of: Mapping[JobKind, Resources]) -> Iterator[Diagnosis]:
    """Check that SLURM would accept a job of each kind (`sbatch --test-only` submits nothing)."""
    for kind, resources in asked_of.items():
        words = request(resources)
        done = _run_program("sbatch", "--test-only", *words, "--wrap", "true")
        job = f"{kind}: {' '.join(words)}"
        if done.returncode:
            yield Diagnosis(
                "wrong", f"{job}\n      {done.stderr.strip()}", f"{SITE}{_partitions(done.stderr)}"
            )
        else:
            yield Diagnosis("ok", job)


def request(resources: Resources) -> list[str]:
    """Build sbatch's options for a job's resources, as Snakemake's plugin does."""
    words = []
    for key, option in (
        ("slurm_account", "--account"),
        ("slurm_partition", "--partition"),
        ("runtime", "--time"),
        ("mem_mb", "--mem"),
        ("nodes", "--nodes"),
        ("tasks", "--ntasks"),
        ("cpus_per_task", "--cpus-per-task"),
        ("gres", "--gres"),
        ("qos", "--qos"),
        ("constraint", "--constraint"),
    ):
        if resources.get(key):
            words.append(f"{option}={resources[key]}")
    if resources.get("gpu"):
        model = resources.get("gpu_model")
        words.append(f"--gpus={f'{model}:' if model else ''}{resources['gpu']}")
    return words


def _partitions(error: str) -> str:
    """List the cluster's partitions if the profile's partition is not one of them."""
    if "partition" not in error.lower():
        return ""
    listed = _run_program("sinfo", "--noheader", "--format=%R (%D nodes, %G, %m MB, %l)").stdout.split("\n")
    return ". There are " + ", ".join(filter(None, listed))


def _check_node(resources: Resources) -> Diagnosis:
    """Run ``mamo doctor --node`` on a node that a fine-tuning would get."""
    words = [*request({**resources, "runtime": 2}), "--immediate=120", "mamo", "doctor", "--node"]
    try:
        done = _run_program("srun", *words, seconds=240)
    except subprocess.TimeoutExpired:
        return Diagnosis(
            "wrong",
            "no job started within four minutes",
            "try again later, or with other partitions",
        )
    text = "\n      | ".join((done.stdout + done.stderr).strip().splitlines())
    if done.returncode:
        return Diagnosis(
            "wrong",
            f"on a node:\n      | {text}",
            "the project's folder and .venv must be visible from every node",
        )
    return Diagnosis("ok", f"on a node:\n      | {text}")


def _run_program(*words: str, seconds: float = 20) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=seconds, env=os.environ.copy())
