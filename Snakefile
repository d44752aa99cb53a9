# Tables and figures of the paper from data, at one scale.
#
#   snakemake --config scale=demo -- table5      one table and everything it needs
#   snakemake --config scale=demo                everything (reproduce_all)
#   snakemake -n                                 what would be done
#
# The plan (mamo.specs) turns the files of ablations/ into runs; the rules execute them through the `mamo` command. A run's path
# has the digest of everything that changes it, so an existing record is up to date by construction: inputs are ancient(), and
# neither modification times nor Snakemake's own records decide what is computed again.

from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version, validate

from mamo.reporting.pages import pages_of
from mamo.specs.overrides import SpecError
from mamo.specs.params import read_config
from mamo.specs.plan import make_plan
from mamo.specs.seeds import read_seeds

min_version("9.0")


configfile: "params.yaml"


# Used only with --sdm apptainer: apptainer build containers/mamo.sif containers/mamo.def
container: "containers/mamo.sif"


try:
    config.update(read_config(config))
except SpecError as error:
    raise WorkflowError(str(error)) from None
validate(config, "workflow/schemas/config.schema.yaml")

SCALE = config["scale"]
RESULTS = Path(config["results"]) / SCALE
REPORTS = Path(config["reports"]) / SCALE
LOGS = Path("logs") / SCALE

try:
    SEEDS = read_seeds(config.get("seeds"))
    PLAN = make_plan(SCALE, others=True, seeds=SEEDS)
    PAGES = pages_of(PLAN)
except SpecError as error:
    raise WorkflowError(str(error)) from None


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/weights.smk"
include: "workflow/rules/pretrain.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/reports.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/site.smk"
include: "workflow/rules/recording.smk"


onsuccess:
    check_all_is_made()
    record_for_dvc()


localrules:
    reproduce_all,


rule reproduce_all:
    default_target: True
    input:
        [values_of(name) for name in WHOLE],
        [maps_of(name) for name in PLAN.figures],
        [file for name, page in PAGES.items() if page.listed for file in published(name)],
        [REPORTS / f"notebooks/{name}.html" for name in NOTEBOOKS],
        behind(READ),
    message:
        f"Scale {SCALE} is reproduced: {REPORTS}/index.html"
