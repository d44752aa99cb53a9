"""Make weights runs: fetch published starting weights once, or train small stand-ins."""

from __future__ import annotations

import io
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.files.record import Outcome
from mamo.files.stored import StoredError, read_object
from mamo.files.writing import write_text
from mamo.model.pretrained import to_bert
from mamo.model.vision import VisionEncoder
from mamo.runs.run import Context, Result, RunError
from mamo.runs.save import save_tensors
from mamo.runs.training import last_means
from mamo.specs.model import ModelSpec
from mamo.specs.optimisation import OptimiserSpec
from mamo.specs.plan import WORLD
from mamo.specs.weights import TrainingSpec
from mamo.tasks.task import Task
from mamo.training.checkpoints import Checkpoints
from mamo.training.loop import LoopConfig, Trained, pick_device, train
from mamo.training.progress_log import EVENTS


def make_weights(context: Context) -> Result:
    """Make the starting weights of the run's role."""
    makers = {
        ("vision", "timm"): _vision_timm,
        ("vision", "naming"): _vision_naming,
        ("vision", "distilled"): _vision_distilled,
        ("vision", "scratch"): _vision_scratch,
        ("text", "transformers"): _text_transformers,
        ("text", "mlm"): _text_mlm,
        ("visual_tokens", "transformers"): _visual_tokens_transformers,
        ("visual_tokens", "dvae"): _visual_tokens_dvae,
    }
    return makers[context.run.spec["role"], context.run.spec["source"]](context)


def _stage(task: Task, training: TrainingSpec, batches: Any, context: Context) -> Trained:
    """Run a short training stage with the schedule that all stages share."""
    optimiser = OptimiserSpec(
        lr=training.lr, final_lr=0.0, weight_decay=training.weight_decay, new_multiplier=1.0
    )
    config = LoopConfig(
        total=training.steps,
        warmup=round(training.warmup_share * training.steps),
        optimiser=optimiser,
        precision=training.precision,
        checkpoints=Checkpoints(context.checkpoints),
        events=context.directory / EVENTS,
    )
    torch.manual_seed(training.seed)
    trained = train(task, batches, config, pick_device())
    if trained.outcome.status == "diverged":
        raise RunError(
            f"{context.run.key}: {trained.outcome.reason}; lower weights.{context.run.spec['role']}.training.lr"
        )
    return trained


def _result(trained: Trained) -> Result:
    """Take the means of the last tenth of the curve as the run's metrics."""
    details = {"steps": trained.steps, "seconds": round(trained.seconds, 2)}
    return Result(trained.outcome, last_means(trained.curve), details, trained.checks)


def _vision_timm(context: Context) -> Result:
    """Fetch timm's published weights by name, or read them from a local directory or file."""
    name = context.run.spec["name"]
    try:
        state, heads = _timm_state(name)
    except StoredError as error:
        raise RunError(f"{context.run.key}: weights.vision.name '{name}': {error}") from error
    save_tensors(state, context.directory / "model.safetensors")
    if heads is not None:
        write_text(context.directory / "config.json", json.dumps({"heads": heads}) + "\n")
    return Result(Outcome("converged"), {}, {"source": name})


def _timm_state(name: str) -> tuple[dict[str, Tensor], int | None]:
    """Read a ViT's weights, and the number of its heads if it is known.

    Raises:
        StoredError: our encoder has no place for some of them, or would compute other features.
    """
    from mamo.model.pretrained import check_vit, read_state, vit_state

    if Path(name).exists():
        state = read_state(Path(name))
        model = _timm_model(Path(name), state)
        if model is not None:
            return state, check_vit(model)
        if "class_token" not in state:  # not one of ours
            vit_state(state)
        return state, None
    import timm

    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except (
        Exception
    ) as error:  # timm and the hub raise many kinds of errors; all mean that the weights are not available
        raise RunError(
            f"timm's weights '{name}' could not be fetched ({error}). Without internet: put their model.safetensors into a "
            "folder and name that folder as weights.vision.name"
        ) from error
    return model.state_dict(), check_vit(model)


def _timm_model(folder: Path, state: dict[str, Tensor]) -> Any:
    """Build a folder's timm model with its weights; None if no ``config.json`` names an architecture."""
    config = folder / "config.json"
    if not config.is_file():
        return None
    architecture = read_object(config).get("architecture")
    if not isinstance(architecture, str):
        return None
    import timm

    try:
        arguments = read_object(config).get("model_args") or {}
        model = timm.create_model(architecture, pretrained=False, **arguments | {"num_classes": 0})
        model.load_state_dict({n: t for n, t in state.items() if n.split(".")[0] != "head"})
    except Exception as error:  # an unknown name, other arguments, tensors of another model
        raise StoredError(f"{config}: '{architecture}' is not the model of these weights: {error}") from error
    return model


def _vision_naming(context: Context) -> Result:
    """Train a ViT to name the world's objects."""
    from mamo.specs.transforms import TransformSpec
    from mamo.tasks.naming import NamingTask, naming_batches, read_scenes

    spec, training = _model_and_training(context)
    scenes = read_scenes(context.input(WORLD) / "release")
    torch.manual_seed(training.seed)
    task = NamingTask(spec, scenes.kinds, scenes.tints).to(pick_device())
    transform, sizes = TransformSpec(size=spec.image_size), context.run.spec["image_sizes"]

    def batches(start: int) -> Any:
        return naming_batches(
            scenes, spec, transform, training.batch_size, training.seed, start, training.steps, sizes
        )

    trained = _stage(task, training, batches, context)
    save_tensors(task.vision.state_dict(), context.directory / "model.safetensors")
    return _result(trained)


def _vision_distilled(context: Context) -> Result:
    """Train a ViT by a convolutional teacher on the photos of the train splits."""
    from mamo.data.batches.photo_views import Photos, distillation_batches
    from mamo.model.teacher import load_teacher
    from mamo.runs.teacher_maps import teacher_maps
    from mamo.specs.weights import TeacherSpec
    from mamo.tasks.photo_distillation import PhotoDistillationTask

    spec, training = _model_and_training(context)
    taught = TeacherSpec.model_validate(context.run.spec["teacher"])
    teacher = load_teacher(taught.architecture, context.run.spec["name"])
    data = [Prepared(context.input(role)) for role in sorted(context.run.inputs)]
    photos = Photos(data, taught, training.seed)
    began = time.process_time()
    maps = teacher_maps(teacher, photos, context.checkpoints)
    seeing = time.process_time() - began
    torch.manual_seed(training.seed)
    task = PhotoDistillationTask(spec, teacher.cpu(), maps.sample(), taught.logits)
    if task.vision.stem is not None:
        task.vision.stem.take(task.teacher, photos.sample(spec.image_size))
        task.vision.remember(taught.window == 1)
    task.to(pick_device())

    def batches(start: int) -> Any:
        return distillation_batches(
            photos, maps, spec.image_size, spec.patch_size, training.batch_size, start, training.steps
        )

    trained = _stage(task, training, batches, context)
    save_tensors(task.vision.state_dict(), context.directory / "model.safetensors")
    result = _result(trained)
    return replace(
        result, details=result.details | {"photos": len(photos), "teacher_seconds": round(seeing, 2)}
    )


def _vision_scratch(context: Context) -> Result:
    """Initialise a ViT at random."""
    torch.manual_seed(0)
    encoder = VisionEncoder(ModelSpec.model_validate(context.run.spec["model"]))
    save_tensors(encoder.state_dict(), context.directory / "model.safetensors")
    return Result(Outcome("converged"), {}, {})


def _text_transformers(context: Context) -> Result:
    """Fetch published BERT and its tokenizer by name, or read a directory saved by ``save_pretrained``."""
    name = context.run.spec["name"]
    from transformers import AutoTokenizer, BertConfig, BertModel

    from mamo.model.packaged import locate
    from mamo.model.pretrained import bert_state, check_bert

    try:
        folder = locate(name)
        check_bert(BertConfig.get_config_dict(folder)[0])
        # BERT's training head and pooler are not needed, so do not warn if they are missing.
        model, unknown = _load_published(BertModel, folder, add_pooling_layer=False)
        bert_state(dict.fromkeys(unknown, torch.empty(0)))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (StoredError, OSError) as error:
        files = "config.json, model.safetensors, vocab.txt and tokenizer.json"
        raise _unusable(context, "the text weights", "weights.text.name", files, error) from error
    model.save_pretrained(context.directory)
    tokenizer.save_pretrained(context.directory)
    return Result(Outcome("converged"), {}, {"source": name})


def _unusable(context: Context, what: str, setting: str, files: str, error: Exception) -> RunError:
    """Say why published weights cannot be used: they are not those of such a model, or not to be had.

    Args:
        setting: the one that names them.
        files: those of the model, for a machine without internet.
    """
    name = context.run.spec["name"]
    if isinstance(error, StoredError):
        return RunError(f"{context.run.key}: {setting} '{name}': {error}")
    return RunError(
        f"{what} '{name}' could not be loaded ({error}). Without internet: put {files} of the model into a folder and name "
        f"that folder as {setting}"
    )


def _load_published(model_class: Any, name: str, **options: Any) -> tuple[Any, list[str]]:
    """Load a transformers model and the names of unused tensors; its own report is not shown.

    Raises:
        OSError: it is not available.
        StoredError: tensors are missing, which transformers would initialise at random, or have another shape.
    """
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        model, loading = model_class.from_pretrained(name, output_loading_info=True, **options)
    except RuntimeError as error:  # of tensors of another shape
        raise StoredError(f"its tensors do not fit its config.json: {str(error)[:500]}") from error
    finally:
        logging.set_verbosity(level)
    lacking = sorted(loading["missing_keys"])
    if lacking:
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise StoredError(
            f"lacks {', '.join(lacking[:5])}{more}; take the weights of a whole {model_class.__name__}"
        )
    return model, sorted(loading["unexpected_keys"])


def _text_mlm(context: Context) -> Result:
    """Train a WordPiece vocabulary and a small BERT on all training texts."""
    from mamo.tasks.language import LanguageTask, text_batches

    spec, training = _model_and_training(context)
    texts: list[str] = []
    for role in sorted(context.run.inputs):
        records = Prepared(context.input(role)).records("train")
        column = "question" if "question" in records.schema.names else "text"
        texts += records.column(column).to_pylist()
    train_wordpiece(texts, context.run.spec["vocab_size"], context.directory)
    tokenizer = Tokenizer.load(context.directory)
    torch.manual_seed(training.seed)
    task = LanguageTask(spec, tokenizer).to(pick_device())

    def batches(start: int) -> Any:
        return text_batches(
            texts, tokenizer, spec.max_words, training.batch_size, training.seed, start, training.steps
        )

    trained = _stage(task, training, batches, context)
    save_tensors(to_bert(task.bert.state_dict()), context.directory / "model.safetensors")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "vocab_size": tokenizer.vocab_size,
        "hidden_size": spec.width,
        "num_attention_heads": spec.heads,
        "num_hidden_layers": spec.text_layers + spec.fusion_layers,
        "intermediate_size": int(spec.width * spec.mlp_ratio),
        "hidden_dropout_prob": spec.dropout,
        "attention_probs_dropout_prob": spec.dropout,
    }
    write_text(context.directory / "config.json", json.dumps(config, indent=1) + "\n")
    return _result(trained)


def _visual_tokens_transformers(context: Context) -> Result:
    """Fetch DALL-E's published encoder."""
    from transformers import FlavaImageCodebook

    name = context.run.spec["name"]
    try:
        codebook, unknown = _load_published(FlavaImageCodebook, name)
        if unknown:
            raise StoredError(f"holds {', '.join(unknown[:5])}, which DALL-E's encoder has no place for")
    except (StoredError, OSError) as error:
        files = "config.json and model.safetensors"
        raise _unusable(
            context, "the visual tokeniser", "weights.visual_tokens.name", files, error
        ) from error
    codebook.save_pretrained(context.directory / "codebook")
    return _tokens_config(context, Result(Outcome("converged"), {}, {"source": name}))


def _visual_tokens_dvae(context: Context) -> Result:
    """Train a small discrete VAE on the pre-training images."""
    from mamo.data.batches.sampler import batch_indices
    from mamo.objectives.visual_tokens import CODE_STRIDE
    from mamo.tasks.visual_codes import VisualCodesTask

    spec, training = _model_and_training(context)
    stores = [Prepared(context.input(role)).images for role in sorted(context.run.inputs)]
    places = [(store, i) for store in stores for i in range(len(store))]
    side = CODE_STRIDE * (spec.image_size // spec.patch_size)
    torch.manual_seed(training.seed)
    task = VisualCodesTask(context.run.spec["codes"], training.steps).to(pick_device())

    def batches(start: int) -> Any:
        for step in range(start, training.steps):
            chosen = batch_indices(training.seed, step, training.batch_size, len(places))
            pixels = torch.stack([_pixels(places[i][0].jpeg(places[i][1]), side) for i in chosen])
            yield {"pixels": pixels, "seed": training.seed, "step": step}

    trained = _stage(task, training, batches, context)
    save_tensors(task.vae.state_dict(), context.directory / "model.safetensors")
    return _tokens_config(context, _result(trained))


def _pixels(jpeg: bytes, side: int) -> Tensor:
    """Decode a stored image to (3, side, side) pixels in [0, 1]."""
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(jpeg)) as picture:
        small = picture.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 255


def _tokens_config(context: Context, result: Result) -> Result:
    config = {"source": context.run.spec["source"], "codes": context.run.spec["codes"]}
    write_text(context.directory / "config.json", json.dumps(config) + "\n")
    return result


def _model_and_training(context: Context) -> tuple[ModelSpec, TrainingSpec]:
    return (
        ModelSpec.model_validate(context.run.spec["model"]),
        TrainingSpec.model_validate(context.run.spec["training"]),
    )
