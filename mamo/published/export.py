"""From a finished run to a folder as model hubs keep them: weights, config, tokenizer and a model card."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mamo.specs.identity import Run
from mamo.specs.plan import Plan
from mamo.specs.stored import read_object
from mamo.training.run import RunError, beside, read_record
from mamo.training.unpacked import require_files

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
MODEL_TYPE = "mamo"


def export(plan: Plan, run: Run, results: Path, out: Path) -> None:
    """Write a pre-trained or fine-tuned model to ``out``, the config last.

    Args:
        results: the scale's results, which hold the run and its inputs.

    Raises:
        RunError: the run is not done, has no weights (diverged, or evaluated as pre-trained), or ``out`` holds files.
    """
    record = read_record(run, results)
    directory = run.directory(results)
    for needed in (run, plan.runs[run.inputs["text"]]):
        require_files(needed, results)
    if record["outcome"]["status"] != "converged" or not (directory / WEIGHTS).is_file():
        raise RunError(
            f"{run.key} has no weights of its own (it ended as {record['outcome']['status']}); export the run that trained them"
        )
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    save_weights(directory, out)
    copy_tokenizer(plan.runs[run.inputs["text"]].directory(results), out)
    answers = answers_of(record, results)
    if answers is not None:
        shutil.copyfile(answers, out / answers.name)  # the bytes alone: modes are the umask's
    config = config_of(directory, record)
    (out / CARD).write_text(card(plan, run, record, config), encoding="utf-8")
    (out / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def save_weights(directory: Path, out: Path) -> None:
    """The network f as ``network.*``, and what a downstream task adds to it; objectives and target network stay behind."""
    from safetensors.torch import save_file

    from mamo.model.pretrained import read_state

    state = weights_of(read_state(directory / WEIGHTS))
    with beside(out / WEIGHTS) as part:
        save_file(state, part, metadata={"format": "pt"})


def weights_of(state: dict[str, Any]) -> dict[str, Any]:
    """A run's weights under the names of an exported model."""
    if any(name.startswith("online.network.") for name in state):
        online = {name.removeprefix("online."): tensor for name, tensor in state.items()}
        return {name: tensor for name, tensor in online.items() if name.startswith("network.")}
    return state


def copy_tokenizer(source: Path, out: Path) -> None:
    """The tokenizer's files, as transformers reads them too."""
    for name in TOKENIZER:
        if (source / name).is_file():
            shutil.copyfile(source / name, out / name)


def answers_of(record: dict[str, Any], results: Path) -> Path | None:
    """The candidate answers of a VQA run: they lie with its first data set."""
    from mamo.data.candidates import FILE

    spec = record["spec"]
    if spec.get("task") != "vqa":
        return None
    return results / record["inputs"][f"data:{spec['data'][0]}"] / FILE


def config_of(directory: Path, record: dict[str, Any]) -> dict[str, Any]:
    """All that it takes to build and use the model."""
    built = read_object(directory / CONFIG)
    task = record["spec"] if record["kind"] == "finetune" else None
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["Mamo"],
        "model": built.get("model"),
        "vocab_size": built.get("vocab_size"),
        "transform": record["spec"]["transform"],
        "task": task,
        "run": record["run"],
        "scale": record["scale"],
        "mamo_version": version("mamo"),
    }


def card(plan: Plan, run: Run, record: dict[str, Any], config: dict[str, Any]) -> str:
    """The model card."""
    spec = record["spec"]
    model = config["model"]
    what = spec["task"] if config["task"] else "pre-training"
    pretrained = plan.runs[run.inputs["init"]].spec["data"] if config["task"] else spec["data"]
    metrics = {name: value for name, value in record["metrics"].items() if not name.startswith("train/")}
    lines = [
        "---",
        "library_name: mamo",
        "license: other",
        "language: en",
        "tags: [vision-language, image-text-retrieval, masked-modeling, mamo]",
        f"datasets: [{', '.join(dict.fromkeys([*pretrained, *spec['data']]))}]",
        "---",
        "",
        f"# {record['run']}",
        "",
        "A model of MAMO: Masked Multimodal Modeling for Fine-Grained Vision-Language Representation Learning",
        f"(arXiv:2210.04183), trained by the MAMO workbench, an independent implementation of the paper. {plan.scale.title}.",
    ]
    lines += [f"\n{' '.join(plan.scale.caveat.split())}"] if plan.scale.caveat else []
    lines += [
        "",
        f"- Trained for: {what}, on {', '.join(spec['data'])}; pre-trained on {', '.join(pretrained)}.",
        f"- Image encoder: {model['vision_layers']} layers, patches of {model['patch_size']} pixels, images of"
        f" {model['image_size']} pixels; text encoder: {model['text_layers']} layers; fusion encoder:"
        f" {model['fusion_layers']} layers; width {model['width']}.",
        f"- Run `{record['run']}` of scale `{record['scale']}`, revision {record['revision']} of the method.",
        "- The terms of the data sets and of the starting weights hold for these weights too.",
        "",
        "```python",
        "import mamo",
        "",
        'model = mamo.load("path/of/this/folder")',
        'model.similarity(["photo.jpg"], ["a dog on the grass"])   # cosine of ITC projections',
        'model.match(["photo.jpg"], ["a dog on the grass"])        # probability of ITM',
        "```",
        "",
    ]
    if metrics:
        lines += ["| metric | value |", "|---|---|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in metrics.items()] + [""]
    return "\n".join(lines)
