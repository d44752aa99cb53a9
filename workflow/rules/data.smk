# The embedded world, and every data set in the form that training reads.


rule prepare:
    input:
        inputs_of("data"),
    output:
        RESULTS / "data/{run}/record.json",
    log:
        LOGS / "data/{run}.log",
    benchmark:
        LOGS / "benchmarks/data/{run}.tsv"
    wildcard_constraints:
        run=runs_of("data"),
    priority: 100
    threads: 1
    resources:
        mem_mb=16000 if LARGE else 2000,
        runtime=2880 if LARGE else 120,
    message:
        "Preparing data: {wildcards.run}"
    shell:
        execute("prepare")
