"""A trained model with one call: from an exported folder, a run's own directory, or a model hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from pydantic import ValidationError
from torch import Tensor

from mamo.data import candidates
from mamo.data.images import to_rgb
from mamo.data.tokenizer import Tokenizer
from mamo.data.transforms import EvalTransform
from mamo.model.mamo import Mamo
from mamo.model.pretrained import fill, read_state
from mamo.published.export import CONFIG, MODEL_TYPE, WEIGHTS, answers_of, config_of, weights_of
from mamo.specs.finetune import Nlvr2Spec, VqaSpec
from mamo.specs.stored import read_object, read_record_file
from mamo.specs.transforms import TransformSpec
from mamo.tasks.alignment import matching_logits
from mamo.tasks.registry import read_spec
from mamo.tasks.task import DownstreamTask
from mamo.training.save import build_network

Picture = str | Path | Image.Image


class LoadError(ValueError):
    """A model that cannot be loaded; the message says which and what to do."""


class Pretrained:
    """A trained network with its tokenizer and image transform, in evaluation mode and full precision.

    Attributes:
        network: f, at the resolution that it was trained for.
        task: the downstream task that it was fine-tuned for, where that has parts beside the network (VQA, NLVR2).
        config: as in ``config.json``.
    """

    def __init__(
        self, network: Mamo, tokenizer: Tokenizer, config: dict[str, Any], task: DownstreamTask | None
    ) -> None:
        self.network, self.tokenizer, self.config, self.task = network.eval(), tokenizer, config, task
        spec = TransformSpec.model_validate(config["transform"])
        self._transform = EvalTransform(spec.model_copy(update={"size": network.spec.image_size}))

    def to(self, device: str | torch.device) -> Pretrained:
        """Move it to a device."""
        (self.task or self.network).to(device)
        return self

    @property
    def _device(self) -> torch.device:
        return self.network.temperature.device

    @torch.no_grad()
    def encode_images(self, images: Sequence[Picture]) -> Tensor:
        """Images (opened, or their paths) -> features (B, 1 + N, D), the class token first."""
        pixels = [self._transform.image(_opened(image)) for image in images]
        return self.network.encode_image(torch.stack(pixels).to(self._device))

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Texts -> features (B, L, D), [CLS] first, and their mask (B, L)."""
        ids, mask = self.tokenizer.encode(texts, self.network.spec.max_words)
        ids, mask = ids.to(self._device), mask.to(self._device)
        return self.network.encode_text(ids, mask), mask

    @torch.no_grad()
    def similarity(self, images: Sequence[Picture], texts: Sequence[str]) -> Tensor:
        """Cosine of each image and each text in the space of ITC: (images, texts)."""
        image_NE = self.network.project_image(self.encode_images(images))
        return image_NE @ self.network.project_text(self.encode_texts(texts)[0]).T

    @torch.no_grad()
    def match(self, images: Sequence[Picture], texts: Sequence[str]) -> Tensor:
        """ITM's probability that each image and its text, at the same place, belong together: (B,).

        Raises:
            ValueError: there are not as many texts as images.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} texts are no pairs")
        text, mask = self.encode_texts(texts)
        return matching_logits(self.network, self.encode_images(images), text, mask).softmax(-1)[:, 1]

    @torch.no_grad()
    def answer(self, images: Sequence[Picture], questions: Sequence[str]) -> list[str]:
        """The likeliest candidate answer to each question about its image.

        Raises:
            LoadError: the model was not fine-tuned for VQA.
        """
        from mamo.tasks.vqa import VqaTask

        if not isinstance(self.task, VqaTask):
            raise LoadError(f"{self.config['run']} was not fine-tuned for VQA")
        ids, mask = self.tokenizer.encode(questions, self.network.spec.max_words)
        context = self.task.context(self.encode_images(images), ids.to(self._device), mask.to(self._device))
        chosen, scores = self.task.rank(context)
        best = chosen.gather(1, scores.argmax(1, keepdim=True))[:, 0]
        return [self.task.answers[index] for index in best.tolist()]


def load(path_or_name: str | Path) -> Pretrained:
    """Load a trained model.

    Args:
        path_or_name: a folder made by ``mamo export``; the directory of a finished pre-training or fine-tuning below its
            scale's results; or a name on the Hugging Face hub.

    Raises:
        LoadError: there is no such model, or a file of it is missing.
    """
    folder = Path(path_or_name)
    if not folder.is_dir():
        folder = _fetched(str(path_or_name))
    record = folder / "record.json"
    if record.is_file():
        return _of_run(folder, read_record_file(record))
    _require(folder, CONFIG, WEIGHTS)
    config = read_object(folder / CONFIG, "take the files of the model anew")
    if config.get("model_type") != MODEL_TYPE:
        raise LoadError(f"{folder / CONFIG}: model_type is {config.get('model_type')!r}, not '{MODEL_TYPE}'")
    return _build(config, read_state(folder / WEIGHTS), folder, folder, folder)


def _of_run(directory: Path, record: dict[str, Any]) -> Pretrained:
    """A run's own model; tokenizer and candidate answers are those of its inputs."""
    _require(directory, CONFIG, WEIGHTS)
    lacking = {"spec", "inputs", "kind", "run", "scale"} - set(record)
    if lacking or "text" not in record["inputs"] or "transform" not in record["spec"]:
        raise LoadError(f"{directory / 'record.json'}: is not the record of a trained model")
    results = directory.parents[1]
    answers = answers_of(record, results)
    state = weights_of(read_state(directory / WEIGHTS))
    tokenizer = results / record["inputs"]["text"]
    config = config_of(directory, record)
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
        task = _task(config["task"], network, words, answers) if config.get("task") else None
        TransformSpec.model_validate(config.get("transform"))
    except ValidationError as error:
        raise LoadError(f"{path}: describes no task or no transform: {error}") from error
    if task is None:
        fill(network, {name.removeprefix("network."): t for name, t in state.items()}, folder / WEIGHTS)
    else:
        fill(task, state, folder / WEIGHTS)
        task.eval()
    return Pretrained(network, words, config, task)


def _task(values: dict[str, Any], network: Mamo, words: Tokenizer, answers: Path) -> DownstreamTask | None:
    """The task of a model that has more parts than the network; None for those that are the network alone."""
    spec = read_spec(values)
    transform = EvalTransform(spec.transform)
    if isinstance(spec, VqaSpec):
        from mamo.tasks.vqa import VqaTask

        _require(answers, candidates.FILE)
        listed = candidates.read(answers, spec.min_answer_count)
        return VqaTask(network, spec, words, transform, listed)
    if isinstance(spec, Nlvr2Spec):
        from mamo.tasks.nlvr2 import Nlvr2Task

        return Nlvr2Task(network, spec, words, transform)
    return None


def _fetched(name: str) -> Path:
    """A model's folder from the hub."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name))
    except Exception as error:  # the hub raises many kinds; all mean that the model could not be had
        raise LoadError(
            f"'{name}' is no folder here, and could not be fetched from the hub ({error}). Without internet: put {CONFIG}, "
            f"{WEIGHTS} and tokenizer.json of the model into a folder and name that folder"
        ) from error


def _require(folder: Path, *names: str) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise LoadError(
            f"{folder} lacks {', '.join(missing)}: name a folder made by `mamo export`, or a finished run's directory"
        )


def _opened(image: Picture) -> Image.Image:
    """An upright RGB image."""
    if not isinstance(image, Image.Image):
        with Image.open(image) as opened:
            opened.load()
            image = opened
    return to_rgb(ImageOps.exif_transpose(image))
