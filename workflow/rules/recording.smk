# Recording for DVC (docs/dvc.md): its stages call this workflow, and results made without them are recorded at the end.

from mamo.cli.dvc_artifacts import FOLDER
from mamo.cli.snakemakes import missing_outputs
from mamo.specs.overrides import load_yaml
from mamo.specs.params import read_config


def check_all_is_made():
    """Fail if Snakemake exits with 0 but has left out files that it should have made."""
    # Parts of a data set are removed once they are put together.
    jobs = [job for job in workflow.dag.jobs if job.rule.name != "prepare_part"]
    if problem := missing_outputs(Path(str(file)) for job in jobs for file in job.output):
        raise WorkflowError(problem)


def record_for_dvc():
    """Record finished results for `dvc repro`, if DVC is in use; an error here does not fail the workflow."""
    given = read_config(load_yaml(Path("params.yaml")))
    # DVC knows only params.yaml.
    if any(config.get(name) != given.get(name) for name in ("scale", "results", "reports", "seeds")):
        return
    if config.get("record") is None and not (FOLDER / SCALE).is_dir() or config.get("record") is False:
        return
    log = LOGS / "dvc.log"
    shell(
        f"mamo dvc record > {log} 2>&1 || {{{{ cat {log}; echo 'Not all is recorded for DVC: mamo dvc record'; }}}} >&2"
    )
