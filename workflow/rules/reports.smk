# From the runs' records to published tables and figures.
#
# A page's values have a digest in their name (results/<scale>/tables/table5-<digest>.json); the published page has it in its
# first line instead. A page with another digest than the planned one is stale, whatever the modification times say: after going
# back to an earlier spec, a newer page is beside older values. A stale page gets one more input, a file that is newer than
# everything, so that Snakemake makes the page again.

from mamo.data.releases.vqa_server import SCORES, read_scores
from mamo.reporting.figure_pages import maps_path
from mamo.reporting.notebooks import notebooks_of

ABLATIONS = PLAN.tables | PLAN.others
FIGURES = [name for name, table in ABLATIONS.items() if table.ablation.drawn]
TABLES = [name for name in ABLATIONS if name not in FIGURES]
DRAWN = [name for name, bound in PLAN.figures.items() if bound.figure.drawn]  # by trained models
COLLECTED = [
    name for name, page in PAGES.items() if page.inputs and name not in DRAWN
]  # pages with values of their own
WHOLE = [name for name in COLLECTED if PAGES[name].listed]
# All runs that the scale as a whole reads.
READ = [key for name in WHOLE for key in PAGES[name].inputs] + [
    key for bound in PLAN.figures.values() for key in bound.inputs
]
NOTEBOOKS = list(notebooks_of(PLAN))


# What Snakemake's own report (snakemake --report) says of a page.
SHOWN = {"labels": {"name": "{name}"}, "caption": "../report/page.rst"}


def about(wildcards):
    """Title and question of a page."""
    if wildcards.name not in ABLATIONS:
        return "The paper's claims, with the verdicts of these results."
    ablation = ABLATIONS[wildcards.name].ablation
    return f"{ablation.title}. {' '.join(ablation.question.split())}"


def values_of(name):
    """The digest-bearing values of a page."""
    return RESULTS / f"tables/{PAGES[name].id}.json"


def published(name):
    """The published files of a page."""
    return [REPORTS / file for file in PAGES[name].files]


def staleness(name):
    """What a page needs beyond its values: nothing, or the file that is newer than everything, where the page is stale."""
    page = PAGES[name]
    stored = maps_path(PLAN, name, RESULTS) if name in PLAN.figures else values_of(name)
    shown = (REPORTS / page.files[0]).is_file()
    if not shown or not page.stale(REPORTS) and (stored.is_file() or not page.inputs):
        return []
    return [NOW]


REPORT = f"mamo report {FOLDERS} --reports {quoted(config['reports'])}"


localrules:
    values,
    page,
    figure,
    ledger,
    overview,
    notebook,


def scores(keys):
    """Score files of an evaluation server that people have filled in; newer ones make values again."""
    folders = [PLAN.runs[key].directory(RESULTS) for key in keys]
    return [str(folder / SCORES) for folder in folders if read_scores(folder)]


rule values:
    input:
        lambda wildcards: read_by(PAGES[wildcards.name].inputs),
        lambda wildcards: scores(PAGES[wildcards.name].inputs),
    output:
        RESULTS / "tables/{name}-{digest}.json",
    log:
        LOGS / "tables/{name}-{digest}.log",
    benchmark:
        LOGS / "benchmarks/tables/{name}-{digest}.tsv"
    wildcard_constraints:
        name=any_of(COLLECTED),
        digest=any_of(page.digest for page in PAGES.values()),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "Values of {wildcards.name}"
    shell:
        f"{REPORT} {{wildcards.name:q}} --collect {{output:q}} > {{log:q}} 2>&1"


rule page:
    input:
        values=lambda wildcards: values_of(wildcards.name),
        stale=lambda wildcards: staleness(wildcards.name),
    output:
        REPORTS / "{name}.md",
        report(REPORTS / "{name}.csv", **SHOWN, category="Tables"),
        REPORTS / "{name}.tex",
    log:
        LOGS / "tables/{name}.log",
    benchmark:
        LOGS / "benchmarks/tables/{name}.tsv"
    wildcard_constraints:
        name=any_of(TABLES),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        about=about,
    message:
        "Publishing {wildcards.name}"
    shell:
        f"{REPORT} {{wildcards.name:q}} --values {{input.values:q}} > {{log:q}} 2>&1"


use rule page as figure with:
    output:
        REPORTS / "{name}.md",
        REPORTS / "{name}.csv",
        REPORTS / "{name}.tex",
        report(REPORTS / "{name}.png", **SHOWN, category="Figures", subcategory="Curves"),
        REPORTS / "{name}.svg",
    wildcard_constraints:
        name=any_of(FIGURES),


use rule page as ledger with:
    output:
        REPORTS / "{name}.md",
        report(REPORTS / "{name}.csv", **SHOWN, category="Claims"),
    wildcard_constraints:
        name="claims",


rule overview:
    input:
        values=[values_of(name) for name in WHOLE],
        pages=[file for name in [*WHOLE, *DRAWN] for file in published(name)],
        stale=staleness("overview"),
        runs=behind(READ),
    output:
        REPORTS / "README.md",
        REPORTS / "results.csv",
        REPORTS / "statistics.csv",
    log:
        LOGS / "tables/overview.log",
    benchmark:
        LOGS / "benchmarks/tables/overview.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "Publishing the overview"
    shell:
        f"{REPORT} overview --values {{input.values:q}} > {{log:q}} 2>&1"


rule notebook:
    input:
        notebook="notebooks/{notebook}.ipynb",
        results=REPORTS / "results.csv",
        maps=[maps_path(PLAN, name, RESULTS) for name in PLAN.figures],
    output:
        report(
            REPORTS / "notebooks/{notebook}.html",
            category="Notebooks",
            labels={"notebook": "{notebook}"},
            caption="../report/notebook.rst",
        ),
    log:
        notebook=RESULTS / "notebooks/{notebook}.ipynb",
        text=LOGS / "notebooks/{notebook}.log",
    benchmark:
        LOGS / "benchmarks/notebooks/{notebook}.tsv"
    wildcard_constraints:
        notebook=any_of(NOTEBOOKS),
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        scale=SCALE,
        reports=config["reports"],
        results=config["results"],
        folder=REPORTS / "notebooks",
    message:
        "Notebook {wildcards.notebook}"
    # The page must not load scripts from other hosts, so MathJax and RequireJS are left out.
    shell:
        "(papermill {input.notebook:q} {log.notebook:q} -p scale {params.scale:q} -p reports {params.reports:q}"
        " -p results {params.results:q} --no-progress-bar"
        " && jupyter nbconvert --to html --no-input --HTMLExporter.mathjax_url= --HTMLExporter.require_js_url="
        # Written under another name first: an existing page counts as complete.
        " --output-dir {params.folder:q} --output .{wildcards.notebook:q} {log.notebook:q}"
        " && mv {params.folder:q}/.{wildcards.notebook:q}.html {output:q}) > {log.text:q} 2>&1"


# One target per table and figure, and one for the claims, by their names: snakemake table5
for name in COLLECTED:

    rule:
        name:
            name
        input:
            values_of(name),
            published(name),
            behind(PAGES[name].inputs),
        localrule: True
        message:
            f"{name} is published"
