# The embedded world, and every data set in the form that training reads. A large release is prepared in parts by parallel jobs;
# the job that puts the parts together removes them, so nothing asks for them once the record exists.

from mamo.data.datasets import part_count


def parts(wildcards):
    """Return the accounts of all parts of a data run that is still to be put together; none where it is made in one piece."""
    run = PLAN.runs[f"data/{wildcards.run}"]
    count = part_count(run.spec) if "dataset" in run.spec else 1
    if count == 1 or run.record(RESULTS).is_file():
        return []
    folder = run.directory(RESULTS) / "parts"
    return [ancient(str(folder / f"{part:05d}-of-{count:05d}.json")) for part in range(count)]


rule prepare_part:
    input:
        inputs_of("data"),
    output:
        RESULTS / "data/{run}/parts/{part}-of-{pieces}.json",
    log:
        LOGS / "data/{run}.{part}-of-{pieces}.log",
    benchmark:
        LOGS / "benchmarks/data/{run}.{part}-of-{pieces}.tsv"
    wildcard_constraints:
        run=runs_of("data"),
        part=r"\d{5}",
        pieces=r"\d{5}",
    priority: 100
    threads: 1
    resources:
        **sized("prepare_part", mem_mb=8000, runtime=240),
    params:
        number=lambda wildcards: f"{int(wildcards.part) + 1}/{int(wildcards.pieces)}",
        # A cluster's job decodes with all cores that it asked for.
        threads=lambda wildcards, threads, resources: resources.get("cpus_per_task", threads),
        signals=pass_on_signals,
    message:
        "Preparing data: {wildcards.run}, part {params.number}"
    shell:
        execute("prepare --part {params.number} --threads {params.threads}")


rule prepare:
    input:
        inputs_of("data"),
        parts,
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
        **sized("prepare", mem_mb=16000 if LARGE else 2000, runtime=2880 if LARGE else 120),
    params:
        signals=pass_on_signals,
    message:
        "Preparing data: {wildcards.run}"
    shell:
        execute("prepare")
