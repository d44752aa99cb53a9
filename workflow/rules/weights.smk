# Starting weights: fetched by name, or small stand-ins trained here.


rule weights:
    input:
        inputs_of("weights"),
    output:
        RESULTS / "weights/{run}/record.json",
    log:
        LOGS / "weights/{run}.log",
    benchmark:
        LOGS / "benchmarks/weights/{run}.tsv"
    wildcard_constraints:
        run=runs_of("weights"),
    priority: 90
    threads: 1
    resources:
        **sized("weights", gpu=GPUS, mem_mb=16000 if LARGE else 4000, runtime=120),
    params:
        signals=pass_on_signals,
    message:
        "Starting weights: {wildcards.run}"
    shell:
        execute("weights")
