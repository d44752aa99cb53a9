"""``mamo doctor``: check that this machine, or a cluster, has what a scale needs; each finding comes with its fix."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.cli.doctor_finding import Diagnosis
from mamo.cli.extras import incomplete
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan

PATIENCE = 120  # seconds for a program of the machine; torch alone may take some on a network's file system


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        help="check that this machine or cluster has what a scale needs",
        description="Check packages, folders, locks, GPUs, shared memory, open files, data, starting weights, git and DVC, and "
        "with --slurm a cluster: "
        "that it answers, and that it would take each kind of job as the profile asks for it. Status 1 if something is wrong.",
    )
    parser.add_argument("--slurm", action="store_true", help="check the cluster too")
    parser.add_argument("--profile", metavar="NAME", help="the profile that --slurm checks (default: slurm)")
    parser.add_argument(
        "--job", action="store_true", help="with --slurm: also run a short job that checks a GPU node"
    )
    parser.add_argument("--node", action="store_true", help="check only what a compute node must have")
    options.add_json(parser)
    options.add_scale(parser)
    options.add_results(parser)
    options.add_releases(parser)
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    from mamo.cli.doctor_passing import check_batch_passing

    checks: list[Callable[[argparse.Namespace], Iterator[Diagnosis]]] = [
        _packages,
        _check_folders,
        _locks,
        _check_gpus,
    ]
    checks.append(check_batch_passing)
    if not args.node:
        checks += [_plan, _versions_of_data, _dvc]
    if args.slurm:
        from mamo.cli.doctor_slurm import check_cluster

        checks.append(check_cluster)
    wrong, findings = 0, []
    for check in checks:
        for finding in check(args):
            wrong += finding.state == "wrong"
            findings.append({"state": finding.state, "what": finding.what, "fix": finding.fix or None})
            if not args.json:
                print(
                    f"{finding.state:6}{finding.what}" + (f"\n      -> {finding.fix}" if finding.fix else "")
                )
    if args.json:
        options.print_json({"wrong": wrong, "findings": findings})
    else:
        print(f"\n{wrong} wrong" if wrong else "\nNothing is wrong")
    return 1 if wrong else 0


def _packages(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check that the packages which the project asks for are installed."""
    from packaging.requirements import Requirement

    yield Diagnosis("ok", f"Python {sys.version.split()[0]} in {sys.prefix}")
    others = []
    for text in metadata.requires("mamo") or []:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            others.append(f"{requirement.name} is not installed")
            continue
        if not requirement.specifier.contains(installed.split("+")[0], prereleases=True):
            others.append(f"{requirement.name} {installed} is not {requirement.specifier}")
    for what in others:
        yield Diagnosis("wrong", what, "`make venv` installs the locked packages")
    if not others:
        yield Diagnosis("ok", "all packages are there in the versions asked for")
    for extra, lacking in incomplete().items():
        what = f"the extra '{extra}' is not complete: {', '.join(lacking)}"
        yield Diagnosis("note", what, "`make venv` installs everything; or: pip install '.[all]'")


def _check_folders(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check that this is the project's root folder and that results can be written."""
    if not Path("Snakefile").is_file():
        yield Diagnosis("wrong", f"no Snakefile in {Path.cwd()}", "call this in the project's root folder")
        return
    folder = Path(options.setting(args, "results"))
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if not os.access(existing, os.W_OK):
        yield Diagnosis(
            "wrong", f"{existing} cannot be written", "set `results:` in params.yaml to a folder of yours"
        )
    else:
        advice = "`mamo plan --gpu NAME` counts what a scale needs"
        yield Diagnosis(
            "ok" if free > 20 else "note", f"{free:.0f} GB free for {folder}", "" if free > 20 else advice
        )


def _locks(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check that another process sees a lock: locks keep a run from being made twice at once."""
    from filelock import FileLock

    folder = Path(options.setting(args, "results"))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".doctor-{os.getpid()}.lock"
    code = "import sys, filelock; filelock.FileLock(sys.argv[1]).acquire(timeout=0)"
    try:
        with FileLock(path):
            seen = _output_of(sys.executable, "-c", code, str(path))
    except subprocess.TimeoutExpired:
        yield Diagnosis(
            "wrong", f"a lock in {folder} is not granted within {PATIENCE} s", "put `results:` elsewhere"
        )
        return
    except OSError as error:
        yield Diagnosis(
            "wrong",
            f"{folder} does not support locks ({error})",
            "put `results:` on a file system with flock",
        )
        return
    finally:
        path.unlink(missing_ok=True)
    if "Timeout" in seen.stderr:
        yield Diagnosis(
            "ok",
            f"locks work in {folder} (between processes here; between nodes it is the file system's promise)",
        )
    else:
        yield Diagnosis(
            "wrong",
            f"a lock in {folder} does not keep another process out",
            "mount the file system with flock (Lustre: -o flock), or put `results:` elsewhere",
        )


def _check_gpus(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check that torch sees the GPUs of this machine."""
    program = shutil.which("nvidia-smi")
    try:
        listed = _output_of(program, "-L").stdout.splitlines() if program else []
    except subprocess.TimeoutExpired:
        fix = "its driver hangs: restart the machine, or use another"
        yield Diagnosis("wrong", f"{program} does not answer within {PATIENCE} s", fix)
        return
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    allotted = f"; CUDA_VISIBLE_DEVICES={given}" if given is not None else ""
    if not listed:
        yield Diagnosis(
            "note", f"no GPU is seen on {os.uname().nodename}{allotted}", "training runs on its processors"
        )
        return
    for line in listed:
        yield Diagnosis("ok", line.split(" (UUID")[0] + allotted)
    code = "import torch; print(torch.cuda.is_available(), torch.version.cuda)"
    try:
        done = _output_of(sys.executable, "-c", code)
    except subprocess.TimeoutExpired:
        yield Diagnosis("wrong", f"torch does not find the GPUs within {PATIENCE} s", "restart the machine")
        return
    if not done.stdout.startswith("True"):
        yield Diagnosis(
            "wrong",
            f"torch sees none of them ({done.stdout.strip() or done.stderr.strip()[-200:]})",
            "update the driver",
        )


def _output_of(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a timeout and return its output."""
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)


def _plan(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check the scale's files and count how many of its runs are done."""
    try:
        plan = options.read_plan(args)
    except SpecError as error:
        yield Diagnosis("wrong", str(error), "fix the file that is named")
        return
    done = sum(run.record(options.results_of(args)).is_file() for run in plan.runs.values())
    yield Diagnosis("ok", f"scale {plan.scale.name}: {len(plan.runs)} runs, {done} of them made")
    yield from _precision(plan)


def _precision(plan: Plan) -> Iterator[Diagnosis]:
    """Name the precisions in which this processor would compute slowly."""
    from mamo.training.precision import emulated

    if shutil.which("nvidia-smi"):
        return
    specs = [run.spec["training"] if run.kind == "weights" else run.spec for run in plan.runs.values()]
    used = Counter(spec["precision"] for spec in specs if spec and "precision" in spec)
    slow = [precision for precision in used if emulated(precision, "cpu")]
    for precision in slow:
        yield Diagnosis(
            "note",
            f"{used[precision]} runs compute in {precision}, which this processor emulates, about ten times as slow as fp32",
            f"set precision: fp32 in {plan.scale.name}.yaml, or run on a GPU or a processor with {precision} instructions",
        )
    if used and not slow:
        yield Diagnosis("ok", f"precision {' and '.join(sorted(used))}: computed in hardware here")


def _versions_of_data(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check that the releases and published weights that the scale still has to read are there."""
    try:
        plan = options.read_plan(args)
    except SpecError:
        return
    yield from _releases(plan, args)
    results = options.results_of(args)
    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    for run in plan.by_kind("weights"):
        if run.spec["source"] not in ("timm", "transformers"):
            continue
        name = run.spec["name"]
        if run.record(results).is_file():
            yield Diagnosis("ok", f"weights {run.name} ({name}) are there")
        elif Path(name).is_dir():
            yield Diagnosis("ok", f"weights {run.name} are in {name}")
        elif _cached(f"timm/{name}" if run.spec["source"] == "timm" else name):
            yield Diagnosis("ok", f"weights {run.name} ({name}) are in the hub's cache")
        else:
            fix = f"`mamo weights --scale {plan.scale.name} --needs {run.name}` on a machine with a network"
            fix += "; HF_HUB_OFFLINE=1 forbids it here" if offline else ""
            yield Diagnosis(
                "wrong" if offline else "note", f"weights {run.name} ({name}) are not here yet", fix
            )


def _releases(plan: Plan, args: argparse.Namespace) -> Iterator[Diagnosis]:
    if plan.scale.data.source != "release":
        return
    results, folder = options.results_of(args), options.releases_of(args)
    lacking = [run for run in plan.by_kind("data") if not run.record(results).is_file()]
    if not lacking:
        yield Diagnosis("ok", "all data sets are prepared")
        return
    names = ", ".join(run.name for run in lacking)
    if folder is None:
        yield Diagnosis(
            "wrong",
            f"no releases are named for {names}",
            "set `releases:` in params.yaml, or --releases FOLDER",
        )
    elif not folder.is_dir():
        yield Diagnosis(
            "wrong", f"there is no folder {folder} for {names}", "docs/data.md says what it must hold"
        )
    else:
        held = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "nothing"
        yield Diagnosis(
            "note",
            f"to prepare: {names}; {folder} holds {held}",
            "docs/data.md says where each is looked for",
        )


def _cached(name: str) -> bool:
    """Check whether this machine's hub cache holds a published model."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "snapshots"
    return folder.is_dir() and any(folder.iterdir())


def _dvc(args: argparse.Namespace) -> Iterator[Diagnosis]:
    """Check DVC, which is optional."""
    from mamo.cli.dvc_artifacts import DvcError, check_repository, dvc

    try:
        check_repository()
        remotes = dvc("remote", "list").split()
    except DvcError as error:
        yield Diagnosis("note", "DVC cannot be used", str(error))
        return
    if remotes:
        yield Diagnosis("ok", f"DVC with remote {remotes[0]}")
    else:
        yield Diagnosis(
            "note", "DVC without a remote", "`dvc remote add --default store FOLDER` before `dvc push`"
        )
