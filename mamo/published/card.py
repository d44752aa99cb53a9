"""The model card: text for people, and the metadata that a hub filters by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mamo.files.record import Record
from mamo.published.about import About, read_about, title_of
from mamo.specs.plan import Plan

PAPER = "MAMO: Masked Multimodal Modeling for Fine-Grained Vision-Language Representation Learning"
ARXIV = "2210.04183"
# The nearest of the hub's tasks; it has none for matching a pair.
PIPELINES = {"vqa": "visual-question-answering", "nlvr2": "visual-question-answering"}
PIPELINE = "zero-shot-image-classification"
LICENCE_NAME = "terms-of-the-training-data"

_USE = {
    "vqa": 'model.answer(["photo.jpg"], ["what is on the grass?"])    # the likeliest answer to each question',
    "nlvr2": 'model.judge(["left.jpg"], ["right.jpg"], ["two dogs"])   # probability that it is true of both',
    "grounding": 'model.ground("photo.jpg", "the dog on the left", boxes)   # which of the boxes (pixels) is meant',
}
_ALIGNED = """\
model.similarity(["photo.jpg"], ["a dog on the grass"])   # cosine of ITC projections
model.match(["photo.jpg"], ["a dog on the grass"])        # probability of ITM
model.explain("photo.jpg", "a dog on the grass").save("where.png")   # where each word looks"""

_STEM = "- It embeds not a patch's pixels, but what the frozen early layers of {} see in it; they are part of the model."

_HUB = """\
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("path/of/this/folder", trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained("path/of/this/folder", trust_remote_code=True)"""
_HUB_USE = {
    "vqa": """\
inputs = processor(images=["photo.jpg"], text=["what is on the grass?"])
index, log_probability = model.answer(**inputs, **processor.candidates())
processor.answers[index[0]]""",
    "nlvr2": """\
left, right = processor(images=["left.jpg"]), processor(images=["right.jpg"])
model.judge(left["pixel_values"], right["pixel_values"], **processor(text=["two dogs"]))""",
}
_HUB_ALIGNED = """\
model.similarity(**processor(images=["photo.jpg"], text=["a dog on the grass"]))"""


def card(plan: Plan, record: Record, config: Mapping[str, Any], load: str = "path/of/this/folder") -> str:
    """Write README.md.

    Args:
        load: argument of ``mamo.load`` in the example: a folder, or the name of a model that ships with the package.
    """
    about, model, task = _about(config), config["model"], (config["task"] or {}).get("task", "")
    lines = [
        "---",
        _metadata(config),
        "---",
        "",
        f"# {record.run}",
        "",
        f"A model of [{PAPER}](https://arxiv.org/abs/{ARXIV}), {title_of(about.task)} with the MAMO workbench, an independent",
        f"implementation of the paper. {plan.scale.title}.",
    ]
    lines += [f"\n{' '.join(plan.scale.caveat.split())}"] if plan.scale.caveat else []
    lines += [
        "",
        f"- It saw {about.saw}.",
        f"- Image encoder: {model['vision_layers']} layers, patches of {model['patch_size']} pixels, images of"
        f" {model['image_size']} pixels; text encoder: {model['text_layers']} layers; fusion encoder:"
        f" {model['fusion_layers']} layers; width {model['width']}.",
        *([_STEM.format(model["stem"])] if model.get("stem") else []),
        f"- Run `{record.run}` of scale `{record.scale}`, revision {record.revision} of the method.",
        "- The terms of the data sets and of the starting weights also apply to these weights: see [LICENSE.md](LICENSE.md).",
        "",
        "## Use",
        "",
        "```python",
        "import mamo",
        "",
        f'model = mamo.load("{load}")',
        *([_USE[task]] if task in _USE else []),
        *([_ALIGNED] if config["aligned"] else []),
        "```",
        "",
    ]
    if "auto_map" in config:
        lines += ["With transformers alone:", "", "```python", _HUB, ""]
        lines += [_HUB_USE.get(task, _HUB_ALIGNED), "```", ""]
    if about.scores:
        lines += [
            "## Scores",
            "",
            "| job | data | metric | value | 95 % interval | chance |",
            "|---|---|---|---|---|---|",
        ]
        for score in about.scores:
            chance = "" if score.chance is None else f"{score.chance:.2f}"
            lines.append(
                f"| {score.job} | {score.data}{' (generated)' if about.generated else ''} | {score.metric} |"
                f" {score.value:.2f} | {score.interval.strip()} | {chance} |"
            )
        lines += [
            "",
            "Intervals resample the test images; they do not say how much another training would differ.",
            "",
        ]
    return "\n".join(lines)


def _about(config: Mapping[str, Any]) -> About:
    about = read_about(config)
    assert about is not None, "an exported model has it"
    return about


def licence(config: Mapping[str, Any]) -> str:
    """Write LICENSE.md, to which the card's metadata refer."""
    about = _about(config)
    lines = ["# Terms", "", "- The code files (`*.py`) are licensed under the Apache License 2.0."]
    if about.generated:
        lines.append(
            "- The weights were trained on scenes drawn with glyphs of [OpenMoji](https://openmoji.org) 17.0, licensed under"
            " [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/): credit OpenMoji when you pass them on."
        )
    else:
        names = ", ".join(about.datasets)
        lines.append(f"- The weights were trained on {names}: the terms of these data sets apply to them.")
    lines += [f"- They started from {name}, whose terms also apply to them." for name in about.start]
    return "\n".join(lines) + "\n"


def _metadata(config: Mapping[str, Any]) -> str:
    """Build the YAML that a hub reads, with the hub's own library."""
    from huggingface_hub import EvalResult, ModelCardData

    about = _about(config)
    pipeline = PIPELINES.get(about.task, PIPELINE)
    generated = bool(about.generated)
    tags = ["vision-language", "image-text-retrieval", "masked-modeling", "mamo", f"arxiv:{ARXIV}"]
    results = [
        EvalResult(
            task_type=PIPELINES.get(score.task, PIPELINE),
            task_name=score.job,
            # A generated stand-in is not the release whose format it has.
            dataset_type="synthetic" if generated else score.data,
            dataset_name=f"generated scenes in the form of {score.data}" if generated else score.data,
            metric_type="accuracy" if "accuracy" in score.metric else score.metric,
            metric_name=score.metric,
            metric_value=score.value,
            metric_args=None if score.lower is None else {"interval_95_percent": [score.lower, score.upper]},
        )
        for score in about.scores
    ]
    data = ModelCardData(
        library_name="transformers" if "auto_map" in config else "mamo",
        license="other",
        license_name=LICENCE_NAME,
        license_link="LICENSE.md",
        language="en",
        pipeline_tag=pipeline,
        tags=[*tags, *(["synthetic"] if generated else [])],
        base_model=list(about.start) or None,
        datasets=about.datasets if about.generated is False else None,
        model_name=config["run"] if results else None,
        eval_results=results or None,
    )
    return data.to_yaml()
