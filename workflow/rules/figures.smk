# Figures that trained models draw (ablations/figures): maps from the runs' weights, then drawings.


def maps_of(name):
    """Return a figure's maps, whose file name holds their digest."""
    return str(maps_path(PLAN, name, RESULTS))


FIGURE = f"mamo figure {FOLDERS} --reports {quoted(config['reports'])}"


localrules:
    drawing,
    drawing_with_excerpt,


rule maps:
    input:
        lambda wildcards: read_by(PLAN.figures[wildcards.name].inputs),
    output:
        RESULTS / "figures/{name}-{digest}.json",
    log:
        LOGS / "figures/{name}-{digest}.log",
    benchmark:
        LOGS / "benchmarks/figures/{name}-{digest}.tsv"
    wildcard_constraints:
        name=any_of(PLAN.figures),
        digest=any_of(Path(maps_of(name)).stem.rsplit("-", 1)[1] for name in PLAN.figures),
    threads: 1
    resources:
        **sized("maps", gpu=GPUS, mem_mb=16000 if LARGE else 2000, runtime=60),
    params:
        signals=pass_on_signals,
    message:
        "Grad-CAM of {wildcards.name}"
    shell:
        f"{ENVIRONMENT} exec {FIGURE} {{wildcards.name:q}} --collect {{output:q}} > {{log:q}} 2>&1"


rule drawing:
    input:
        values=lambda wildcards: maps_of(wildcards.name),
        stale=lambda wildcards: staleness(wildcards.name),
    output:
        REPORTS / "{name}.md",
        report(
            REPORTS / "{name}.png",
            category="Figures",
            subcategory="Grad-CAM",
            labels={"figure": "{name}"},
            caption="../report/drawing.rst",
        ),
        REPORTS / "{name}.svg",
    log:
        LOGS / "figures/{name}.log",
    benchmark:
        LOGS / "benchmarks/figures/{name}.tsv"
    wildcard_constraints:
        name=any_of(name for name in DRAWN if not PLAN.figures[name].figure.small),
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        title=lambda wildcards: PLAN.figures[wildcards.name].figure.title,
        caption=lambda wildcards: " ".join(PLAN.figures[wildcards.name].figure.caption.split()),
    message:
        "Drawing {wildcards.name}"
    shell:
        f"{FIGURE} {{wildcards.name:q}} --values {{input.values:q}} > {{log:q}} 2>&1"


# Some figures have an excerpt in large letters beside them, for the top of a page.
use rule drawing as drawing_with_excerpt with:
    output:
        REPORTS / "{name}.md",
        report(
            REPORTS / "{name}.png",
            category="Figures",
            subcategory="Grad-CAM",
            labels={"figure": "{name}"},
            caption="../report/drawing.rst",
        ),
        REPORTS / "{name}.svg",
        REPORTS / "{name}-small.png",
    wildcard_constraints:
        name=any_of(name for name in DRAWN if PLAN.figures[name].figure.small),


# One target per figure, by its name: snakemake figure1
for name in DRAWN:

    rule:
        name:
            name
        input:
            maps_of(name),
            published(name),
            behind(PLAN.figures[name].inputs),
        localrule: True
        message:
            f"{name} is drawn"
