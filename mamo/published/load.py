"""Load a trained model with one call: bundled with the package, an exported folder, a run, or from a model hub."""

from __future__ import annotations

import difflib
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from mamo.data.batches.transforms import EvalTransform
from mamo.data.releases import candidates
from mamo.data.tokenizer import Tokenizer
from mamo.files.record import Record
from mamo.files.stored import read_object, read_record_file
from mamo.model.mamo import Mamo
from mamo.model.pretrained import load_exactly, read_state
from mamo.published.about import about_of
from mamo.published.export import CONFIG, MODEL_TYPE, WEIGHTS, answers_of, config_of, weights_of
from mamo.published.pretrained import Pretrained
from mamo.runs.save import build_network
from mamo.specs.finetune import JobSpec, Nlvr2Spec, VqaSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.registry import read_spec
from mamo.tasks.task import DownstreamTask

HUB_FILES = ["*.json", "*.safetensors", "vocab.txt", "README.md"]
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
# A job's training settings, which an exported model neither holds nor needs.
_UNUSED: dict[str, Any] = {
    "data": ["none"],
    "optimiser": {},
    "schedule": {"epochs": 0},
    "batch_size": 1,
    "precision": "fp32",
}


class LoadError(ValueError):
    """A model cannot be loaded; the message says which one and what to do."""


def load(
    path_or_name: str | Path, *, scale: str | None = None, results: str | Path = "results"
) -> Pretrained:
    """Load a trained model.

    Args:
        path_or_name: the name of a model that ships with the package (``bundled()`` lists them); a folder made by
            ``mamo export``; the directory of a finished pre-training or fine-tuning below its scale's results; or a name on
            the Hugging Face hub. A folder of this name comes first.
        scale: take ``path_or_name`` as the name of a run of this scale, as ``mamo plan`` lists them.
        results: folder of the runs; used only with ``scale``.

    Raises:
        LoadError: there is no such model, or a file of it is missing.
    """
    folder = Path(path_or_name)
    if scale is not None:
        from mamo.specs.plan import make_plan

        run = make_plan(scale, others=True).find_trained(str(path_or_name))
        folder = run.directory(Path(results) / scale)
        if not (folder / "record.json").is_file():
            raise LoadError(
                f"{run.key} is not made yet in {folder.parents[1]}: first run `mamo {run.kind} --scale {scale} "
                f"--needs {run.id}`, or load a folder made by `mamo export`"
            )
    elif not _holds_a_model(folder):
        if str(path_or_name) in bundled():
            folder = _models() / str(path_or_name)
        elif not folder.is_dir():
            folder = _fetched(str(path_or_name))
    record = folder / "record.json"
    if record.is_file():
        return _of_run(folder, read_record_file(record))
    _require(folder, CONFIG, WEIGHTS)
    config = read_object(folder / CONFIG, "take the files of the model again")
    if config.get("model_type") != MODEL_TYPE:
        raise LoadError(f"{folder / CONFIG}: model_type is {config.get('model_type')!r}, not '{MODEL_TYPE}'")
    return _build(config, read_state(folder / WEIGHTS), folder, folder, folder)


def bundled() -> list[str]:
    """Return the names of the models that ship with the package."""
    return sorted(path.parent.name for path in _models().glob(f"[!.]*/{CONFIG}"))


def bundle_folder(name: str) -> Path:
    """Return the path of a model of the package, whether or not it exists.

    Raises:
        LoadError: the name is more than letters, digits, ``_`` and ``-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise LoadError(f"'{name}': the name of a bundled model has letters, digits, '_' and '-' only")
    return _models() / name


def _models() -> Path:
    return Path(str(files("mamo.published"))) / "models"


def _holds_a_model(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("record.json", CONFIG))


def _of_run(directory: Path, record: Record) -> Pretrained:
    """Read a run's own model, with the tokenizer and candidate answers of its inputs."""
    lacking = {"spec", "inputs", "kind", "run", "scale"} - record.model_fields_set
    if lacking or "text" not in record.inputs or "transform" not in record.spec:
        raise LoadError(f"{directory / 'record.json'}: is not the record of a trained model")
    if record.kind == "finetune" and not (directory / WEIGHTS).is_file():
        raise LoadError(
            f"{directory} has no weights of its own: load the pre-training that it evaluated, "
            f"{record.inputs.get('init')}"
        )
    _require(directory, CONFIG, WEIGHTS)
    results = directory.resolve().parents[1]
    answers = answers_of(record, results)
    state = weights_of(read_state(directory / WEIGHTS))
    tokenizer = results / record.inputs["text"]
    config = config_of(directory, record) | {"about": about_of(record, results).as_json()}
    return _build(config, state, directory, tokenizer, answers.parent if answers else directory)


def _build(
    config: dict[str, Any], state: dict[str, Tensor], folder: Path, tokenizer: Path, answers: Path
) -> Pretrained:
    words = Tokenizer.load(tokenizer)
    path = folder / CONFIG
    network = build_network(config, path)
    if words.vocab_size != config["vocab_size"]:
        raise LoadError(
            f"{path}: 'vocab_size' is {config['vocab_size']}, and the tokenizer has {words.vocab_size} words"
        )
    try:
        TransformSpec.model_validate(config.get("transform"))
        spec = _spec(config) if config.get("task") else None
        task = _task(spec, network, words, answers)
    except ValidationError as error:
        raise LoadError(f"{path}: describes no task or no transform: {error}") from error
    if task is None:
        load_exactly(
            network, {name.removeprefix("network."): t for name, t in state.items()}, folder / WEIGHTS
        )
    else:
        load_exactly(task, state, folder / WEIGHTS)
        task.eval()
    return Pretrained(network, words, config, task, spec)


def _spec(config: dict[str, Any]) -> JobSpec:
    """Rebuild the job of a fine-tuned model from the config, which holds only the settings needed in use."""
    return read_spec({**_UNUSED, "transform": config["transform"], **config["task"]})


def _task(spec: JobSpec | None, network: Mamo, words: Tokenizer, answers: Path) -> DownstreamTask | None:
    """Build the task of a model that has parts beside the network; None if it is the network alone."""
    if isinstance(spec, VqaSpec):
        from mamo.tasks.vqa import VqaTask

        _require(answers, candidates.FILE)
        listed = candidates.read(answers, spec.min_answer_count)
        return VqaTask(network, spec, words, EvalTransform(spec.transform), listed)
    if isinstance(spec, Nlvr2Spec):
        from mamo.tasks.nlvr2 import Nlvr2Task

        return Nlvr2Task(network, spec, words, EvalTransform(spec.transform))
    return None


def _fetched(name: str) -> Path:
    """Fetch a model's folder from the hub, or from the hub's cache on this machine."""
    own = bundled()
    if not _HUB_NAME.fullmatch(name):
        near = difflib.get_close_matches(name, own, 1)
        raise LoadError(
            f"'{name}' is not a folder here, not a model of the package ({', '.join(own) or 'it has none'})"
            + (f", did you mean '{near[0]}'" if near else "")
            + ", and not a name on the hub (USER/NAME); to load a run, give its directory, or its name with scale="
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (
        Exception
    ) as error:  # the hub raises many kinds of errors; all mean that the model is not available
        raise LoadError(
            f"'{name}' is not a folder here, and could not be fetched from the hub ({error}). Without internet: put {CONFIG}, "
            f"{WEIGHTS} and tokenizer.json of the model into a folder and name that folder"
        ) from error


def _require(folder: Path, *names: str) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise LoadError(
            f"{folder} lacks {', '.join(missing)}: name a folder made by `mamo export`, or a finished run's directory"
        )
