# Paths, inputs and commands that the rules share.

import os
import re
import shlex
import time
from importlib import import_module
from importlib.util import find_spec
from itertools import chain

from mamo.cli.slurm_watchdog import keep_every_job
from mamo.cli.snakemakes import clear_stale_markers
from mamo.cli.warm import MALLOC
from mamo.cli.workflow_signals import Signals, environment
from mamo.specs.cluster import DIVIDED, is_large, processes, resources_of, why_indivisible
from mamo.specs.seeds import write_seeds


def reset_future_times():
    """Set files dated into the future, by a clock that was ahead, to now.

    Modification times decide nothing here. But Snakemake fails every job whose output is older than an input, again and
    again, and it believes a page from the future to be newer than the file that asks for it to be made again.
    """
    now = time.time()
    made = ("*/*/record.json", "data/*/parts/*.json", "tables/*.json", "figures/*.json")
    shown = chain(REPORTS.glob("*.*"), REPORTS.glob("notebooks/*.html"), Path("notebooks").glob("*.ipynb"))
    for path in chain(*map(RESULTS.glob, made), shown):
        if path.stat().st_mtime > now:
            os.utime(path, (now, now))


# Newer than everything else: as an input it has what reads it made again.
NOW = RESULTS / "tables/now"


def write_now():
    """Write that file before anything is planned: Snakemake lists a folder once, and takes what comes later for missing."""
    NOW.parent.mkdir(parents=True, exist_ok=True)
    # Never the same twice: Snakemake compares the checksums of small files too.
    NOW.write_text(f"{time.time_ns()}\n")


def is_made(key):
    """Check that a run has its record."""
    return PLAN.runs[key].record(RESULTS).is_file()


def records(keys):
    """Return the records of runs, as inputs whose modification times mean nothing."""
    return [ancient(str(PLAN.runs[key].record(RESULTS))) for key in keys]


def read_by(keys):
    """Return the records that values are collected from. Missing runs are made even if the values exist."""
    return records(keys) + ([] if all(map(is_made, keys)) else [NOW])


def behind(keys):
    """Return the records of runs and of all their inputs, so that a missing one is made whatever else exists."""
    needed = PLAN.closure(keys)
    return records(key for key in PLAN.runs if key in needed)


def inputs_of(kind):
    """Make an input function: the records of the runs that a run of a kind needs; once it is made, of those that are there."""

    def needed(wildcards):
        run = PLAN.runs[f"{kind}/{wildcards.run}"]
        if kind in DIVIDED:
            check_division(run)
        return records(key for key in run.inputs.values() if is_made(key) or not is_made(run.key))

    return needed


reset_future_times()
if workflow.is_main_process:
    clear_stale_markers()
    write_now()


def any_of(names):
    """Make a wildcard constraint: one of the names, and nothing where there are none."""
    return "|".join(map(re.escape, names)) or "(?!)"


def runs_of(kind):
    """Make a wildcard constraint: the identities of the planned runs of a kind."""
    return any_of(run.id for run in PLAN.by_kind(kind))


def spec_of(kind, wildcards):
    """Return the resolved spec of a run."""
    return PLAN.runs[f"{kind}/{wildcards.run}"].spec


def quoted(value):
    """A setting as one word of a shell command, in which Snakemake finds nothing to fill in."""
    return shlex.quote(str(value)).replace("{", "{{").replace("}", "}}")


ENVIRONMENT = (
    environment()
    + (
        "OMP_NUM_THREADS={threads} MKL_NUM_THREADS={threads} OPENBLAS_NUM_THREADS={threads} TOKENIZERS_PARALLELISM=false "
    )
    + " ".join(f"{name}={value}" for name, value in MALLOC.items())
)
FOLDERS = f"--scale {quoted(SCALE)} --results {quoted(config['results'])}"
if SEEDS is not None:
    FOLDERS += f" --seeds {quoted(write_seeds(SEEDS))}"
if config.get("releases"):
    RELEASES = f" --releases {quoted(config['releases'])}"
else:
    RELEASES = ""


# Options of execution for training runs; none of them changes what a run computes.
TRAINING = f" --micro-batch {config['micro_batch']}" if config.get("micro_batch") else ""
for option in ("compile", "activation_checkpointing"):
    if config.get(option) is not None:
        TRAINING += f" --{'' if config[option] else 'no-'}{option.replace('_', '-')}"


def execute(command):
    """The shell command that executes a run; its whole output goes to the job's log.

    It waits for another process that makes the run: what a killed workflow has left on a cluster goes on by itself. Snakemake
    removes the log when the job begins, so what the other process says from then on is lost, and the log is that of the job
    alone. The shell is replaced, so that a signal to it is one to the run.
    """
    how = TRAINING if command.startswith(("pretrain", "finetune")) else ""
    return f"{ENVIRONMENT} exec mamo {command} {FOLDERS}{RELEASES}{how} --wait {{wildcards.run:q}} >> {{log:q}} 2>&1"


SIGNALS = Signals(workflow.is_main_process)


def pass_on_signals(wildcards):
    """Return an empty parameter; looking it up makes Snakemake pass requests to stop on to its runs."""
    SIGNALS.pass_on()
    return ""


def ranks(wildcards, resources):
    """Return the options that start a process for each GPU of a job."""
    each, nodes = processes(resources)
    if each * nodes == 1:
        return ""
    cpus = f" --cpus {resources.cpus_per_task}" if resources.get("cpus_per_task") else ""
    return f"--processes {each} --nodes {nodes}{cpus}"


# A GPU takes one training job at a time; without one, a job is a thread and the cores are the limit.
GPUS = min(1, len(list(Path("/dev").glob("nvidia[0-9]*"))))
if GPUS and "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", GPUS)

# Rough sizes for whoever limits memory on this machine: full-size models on one side, everything smaller on the other.
LARGE = is_large(PLAN)
# What the profile or the call sets for one rule goes before.
SET = workflow.resource_settings.overwrite_resources
# A cluster's profile names a partition.
CLUSTER = "slurm_partition" in (workflow.resource_settings.default_resources or {})


if CLUSTER and workflow.is_main_process and find_spec("snakemake_executor_plugin_slurm"):
    keep_every_job(import_module("snakemake_executor_plugin_slurm").Executor)


def sized(kind, **here):
    """Return the resources of a kind of job: on a cluster by the scale and the site's settings, elsewhere those given."""
    if not CLUSTER:
        return here
    try:
        return resources_of(PLAN, kind)
    except SpecError as error:
        raise WorkflowError(str(error)) from None


def check_division(run):
    """Fail now if a job's processes could not share the batch of its run, instead of in the job, again and again."""
    given = {name: getattr(value, "raw", value) for name, value in SET.get(run.kind, {}).items()}
    each, nodes = processes(sized(run.kind) | given)
    problem = why_indivisible(run, each * nodes)
    if problem and CLUSTER and workflow.is_main_process and not is_made(run.key):
        raise WorkflowError(
            f"{problem}: set MAMO_{run.kind.upper()}_GPUS and MAMO_{run.kind.upper()}_NODES, or the profile's resources, so that it is"
        )
