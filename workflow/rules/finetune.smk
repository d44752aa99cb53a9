# Downstream jobs (paper section 4.3, appendix A): fine-tuning and evaluation of a pre-trained model.


def packed(run):
    """Return the group of a fine-tuning: all of one pre-training, so that no group waits for several of them.

    Only a cluster's profile packs them (`group-components: finetune=N`), into jobs that work on N of them one after the other.
    """
    group = f"finetune-{PLAN.runs[run.inputs['init']].id}"
    workflow.parent_groupids[group] = "finetune"
    return group


def inputs_and_keep_going(wildcards):
    """Return the records that a fine-tuning needs; here a packed job is told to continue with the others when one fails.

    Snakemake tells its jobs nothing of `keep-going`, and sets what they go by only after it has read this file.
    """
    if not workflow.is_main_process:
        workflow.execution_settings.keep_going = True
    return inputs_of("finetune")(wildcards)


rule finetune:
    input:
        inputs_and_keep_going,
    output:
        RESULTS / "finetune/{run}/record.json",
    log:
        LOGS / "finetune/{run}.log",
    benchmark:
        LOGS / "benchmarks/finetune/{run}.tsv"
    wildcard_constraints:
        run=runs_of("finetune"),
    priority: 10
    group:
        lambda wildcards: packed(PLAN.runs[f"finetune/{wildcards.run}"])
    threads: 1
    resources:
        **sized("finetune", gpu=GPUS, mem_mb=64000 if LARGE else 4000, runtime=2880 if LARGE else 240),
        packed=1,
    params:
        ranks=ranks,
        signals=pass_on_signals,
    message:
        "Fine-tuning: {wildcards.run}"
    shell:
        execute("finetune {params.ranks}")
