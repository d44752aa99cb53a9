# reports/<scale>/index.html: everything on one page that opens without a network.


localrules:
    index,


rule index:
    input:
        values=[values_of(name) for name in WHOLE],
        maps=[maps_of(name) for name in PLAN.figures],
        pages=[file for name in [*WHOLE, *DRAWN] for file in published(name)],
        stale=staleness("index"),
        runs=behind(READ),
    output:
        report(
            REPORTS / "index.html",
            category="Everything",
            labels={"page": "index.html"},
            caption="../report/index.rst",
        ),
    log:
        LOGS / "tables/index.log",
    benchmark:
        LOGS / "benchmarks/tables/index.tsv"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    message:
        "One page with everything"
    shell:
        f"mamo site {FOLDERS} --reports {quoted(config['reports'])} --values {{input.values:q}} --maps {{input.maps:q}} > {{log:q}} 2>&1"
