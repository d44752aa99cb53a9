# Pre-training (paper section 3.2): one job per distinct spec, however many tables show it.


rule pretrain:
    input:
        inputs_of("pretrain"),
    output:
        RESULTS / "pretrain/{run}/record.json",
    log:
        LOGS / "pretrain/{run}.log",
    benchmark:
        LOGS / "benchmarks/pretrain/{run}.tsv"
    wildcard_constraints:
        run=runs_of("pretrain"),
    # Longest first, and all before the short fine-tunings: then no core waits at the end for a long job begun late.
    priority: lambda wildcards: 20 + spec_of("pretrain", wildcards)["schedule"]["epochs"]
    threads: 1
    resources:
        **sized("pretrain", gpu=GPUS, mem_mb=64000 if LARGE else 4000, runtime=10080 if LARGE else 600),
    params:
        ranks=ranks,
        signals=pass_on_signals,
    message:
        "Pre-training: {wildcards.run}"
    shell:
        execute("pretrain {params.ranks}")
