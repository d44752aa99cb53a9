# Downstream jobs (paper section 4.3, appendix A): fine-tuning and evaluation of a pre-trained model.


rule finetune:
    input:
        inputs_of("finetune"),
    output:
        RESULTS / "finetune/{run}/record.json",
    log:
        LOGS / "finetune/{run}.log",
    benchmark:
        LOGS / "benchmarks/finetune/{run}.tsv"
    wildcard_constraints:
        run=runs_of("finetune"),
    priority: 10
    threads: 1
    resources:
        gpu=GPUS,
        mem_mb=64000 if LARGE else 4000,
        runtime=2880 if LARGE else 240,
    message:
        "Fine-tuning: {wildcards.run}"
    shell:
        execute("finetune")
