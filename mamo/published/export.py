"""Export a finished run as a model hub's folder: weights, config, tokenizer, processor, code and a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mamo.files.record import Record
from mamo.files.stored import read_object
from mamo.files.writing import atomic_write
from mamo.jobs.registry import job_of
from mamo.published.about import about_of
from mamo.published.code import AUTO_CONFIG, AUTO_IMAGE_PROCESSOR, AUTO_PROCESSOR, write_code
from mamo.runs.run import RunError, read_record, require_files
from mamo.specs.identity import Run
from mamo.specs.plan import Plan

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
TOKENIZER = ("tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json")
LICENCE = "LICENSE.md"
MODEL_TYPE = "mamo"
BUNDLE_LIMIT = 15_000_000  # bytes of a model that ships with the package


def export(plan: Plan, run: Run, results: Path, out: Path, half: bool = False) -> None:
    """Write a pre-trained or fine-tuned model to ``out``, the config last.

    Args:
        results: the scale's results, which hold the run and its inputs.
        half: store the weights in half precision (float16); computation is still in full precision.

    Raises:
        RunError: the run is not done, has no weights (diverged, or evaluated as pre-trained), or ``out`` holds files.
    """
    from mamo.published.card import card, licence

    record = _trained(plan, run, results)
    if out.is_dir() and any(out.iterdir()):
        raise RunError(f"{out} is not empty: name a new folder")
    out.mkdir(parents=True, exist_ok=True)
    config = _write_model(plan, run, record, results, out, half)
    write_code(out)
    _write_processor(config, out)
    (out / LICENCE).write_text(licence(config), encoding="utf-8")
    (out / CARD).write_text(card(plan, record, config), encoding="utf-8")
    _write_json(config, out / CONFIG)


def bundle(plan: Plan, run: Run, results: Path, out: Path) -> None:
    """Write a model into the package, in half precision and without code of its own, replacing an older one.

    Raises:
        RunError: as :func:`export`; or its weights take more than 15 MB.
    """
    from mamo.published.card import card, licence

    record = _trained(plan, run, results)
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        config = _write_model(plan, run, record, results, part, half=True)
        size = (part / WEIGHTS).stat().st_size
        if size > BUNDLE_LIMIT:
            raise RunError(
                f"{run.id}: its weights take {size / 1e6:.1f} MB in half precision, and a model of the package at most "
                f"{BUNDLE_LIMIT / 1e6:.0f} MB: export it to a folder instead"
            )
        config = {name: value for name, value in config.items() if name != "auto_map"}
        (part / LICENCE).write_text(licence(config), encoding="utf-8")
        (part / CARD).write_text(card(plan, record, config, load=out.name), encoding="utf-8")
        _write_json(config, part / CONFIG)
        shutil.rmtree(out, ignore_errors=True)
        part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _trained(plan: Plan, run: Run, results: Path) -> Record:
    """Read the record of a run, and check that it has weights of its own."""
    record = read_record(run, results)
    directory = run.directory(results)
    for needed in (run, plan.runs[run.inputs["text"]]):
        require_files(needed, results)
    if not record.converged or not (directory / WEIGHTS).is_file():
        raise RunError(
            f"{run.key} has no weights of its own (it ended as {record.outcome.status}); export the run that trained them"
        )
    # The same run may have been made for another scale.
    return record.model_copy(update={"scale": plan.scale.name})


def _write_model(
    plan: Plan, run: Run, record: Record, results: Path, out: Path, half: bool
) -> dict[str, Any]:
    """Write weights, tokenizer and candidate answers; return the config, which is not written yet."""
    directory = run.directory(results)
    save_weights(directory, out, half)
    _copy((plan.runs[run.inputs["text"]].directory(results) / name for name in TOKENIZER), out)
    answers = answers_of(record, results)
    if answers is not None:
        _copy([answers], out)
    config = config_of(directory, record)
    config["about"] = about_of(record, results).as_json()
    config["cls_token_id"] = _tokenizer(out).cls_id
    return config


def save_weights(directory: Path, out: Path, half: bool = False) -> None:
    """Save the network f as ``network.*`` and a downstream task's own parts; leave out objectives and target network."""
    import torch
    from safetensors.torch import save

    from mamo.model.pretrained import read_state

    state = weights_of(read_state(directory / WEIGHTS))
    if half:
        state = {name: t.to(torch.float16) if t.is_floating_point() else t for name, t in state.items()}
    with atomic_write(
        out / WEIGHTS
    ) as part:  # this gives the file the umask's mode; the library's save_file does not
        part.write_bytes(save(state, metadata={"format": "pt"}))


def weights_of(state: dict[str, Any]) -> dict[str, Any]:
    """Return a run's weights under the names of an exported model."""
    if any(name.startswith("online.network.") for name in state):
        online = {name.removeprefix("online."): tensor for name, tensor in state.items()}
        return {name: tensor for name, tensor in online.items() if name.startswith("network.")}
    return state


def answers_of(record: Record, results: Path) -> Path | None:
    """Read the candidate answers of a VQA run, which are stored with its first data set."""
    from mamo.data.releases.candidates import FILE

    spec = record.spec
    if spec.get("task") != "vqa":
        return None
    return results / record.inputs[f"data:{spec['data'][0]}"] / FILE


def config_of(directory: Path, record: Record) -> dict[str, Any]:
    """Collect everything needed to build and use the model; training settings stay in the run's record."""
    built = read_object(directory / CONFIG)
    spec, model = record.spec, built.get("model")
    downstream = record.kind == "finetune"
    task = None
    if downstream:
        used = job_of(spec["task"]).settings
        task = {"task": spec["task"]} | {name: spec[name] for name in used if name in spec}
    transform = {name: spec["transform"].get(name) for name in ("size", "interpolation", "mean", "std")}
    transform = {name: value for name, value in transform.items() if value is not None}
    if isinstance(model, dict) and "image_size" in model:
        transform["size"] = model["image_size"]
    return {
        "model_type": MODEL_TYPE,
        "architectures": ["MamoModel"],
        "auto_map": AUTO_CONFIG,
        "dtype": "float32",
        "model": model,
        "vocab_size": built.get("vocab_size"),
        "transform": transform,
        "task": task,
        "aligned": _aligned(record),
        "run": record.run,
        "scale": record.scale,
        "mamo_version": version("mamo"),
    }


def _aligned(record: Record) -> bool:
    """Check that the last training included ITC and ITM, so that similarities and matches are meaningful."""
    spec = record.spec
    if record.kind == "finetune":
        return spec.get("task") not in ("vqa", "nlvr2")
    objectives = spec.get("objectives", {})
    return bool(objectives.get("itc", True) and objectives.get("itm", True))


def _write_processor(config: dict[str, Any], out: Path) -> None:
    """Write the files that ``AutoProcessor`` and ``AutoImageProcessor`` read."""
    from mamo.data.releases import candidates

    transform, task = config["transform"], config["task"] or {}
    images = {
        "image_processor_type": "MamoImageProcessor",
        "processor_class": "MamoProcessor",
        "auto_map": AUTO_IMAGE_PROCESSOR | AUTO_PROCESSOR,
        "size": transform["size"],
        "interpolation": transform.get("interpolation", "bicubic"),
    }
    images |= {f"image_{name}": transform[name] for name in ("mean", "std") if name in transform}
    _write_json(images, out / "preprocessor_config.json")
    both: dict[str, Any] = {
        "processor_class": "MamoProcessor",
        "auto_map": AUTO_PROCESSOR,
        "max_words": config["model"]["max_words"],
    }
    if task.get("task") == "vqa":
        both["answers"] = candidates.read(out, task["min_answer_count"])
    _write_json(both, out / "processor_config.json")


def _copy(files: Iterable[Path], out: Path) -> None:
    """Copy files with the mode of new files, not the mode of the originals."""
    for path in files:
        if path.is_file():
            shutil.copyfile(path, out / path.name)


def _tokenizer(folder: Path) -> Any:
    from mamo.data.tokenizer import Tokenizer

    return Tokenizer.load(folder)


def _write_json(values: dict[str, Any], path: Path) -> None:
    path.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
