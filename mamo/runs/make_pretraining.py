"""Pre-training runs."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mamo.data.batches.collate import Batch, CaptionCollate
from mamo.data.batches.transforms import EvalTransform, TrainTransform
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.files.writing import write_text
from mamo.model.distributed import rank, world_size
from mamo.objectives.visual_tokens import VisualTokenizer, load_visual_tokenizer
from mamo.runs.run import Context, Result
from mamo.runs.save import WEIGHTS, new_network, save_network_config, save_tensors
from mamo.runs.training import save_curve, training_batches, training_result
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.pretrain import PretrainTask
from mamo.training.checkpoints import Checkpoints
from mamo.training.distributed import process_group
from mamo.training.health import Health, validation_pairs
from mamo.training.loop import LoopConfig, pick_device, train
from mamo.training.progress_log import EVENTS


def make_pretraining(context: Context) -> Result:
    """Train the online network on the spec's objectives, and save everything that a later run may read."""
    with process_group():
        return _pretrain(context)


def _pretrain(context: Context) -> Result:
    spec = PretrainSpec.model_validate(context.run.spec)
    device = pick_device()
    tokenizer = Tokenizer.load(context.input("text"))
    torch.manual_seed(spec.seed)
    network = new_network(spec.model, tokenizer, context.input("vision"), context.input("text"))
    network.vision.remember(spec.transform.repeats)
    source = ConcatRecords([Prepared(context.input(f"data:{name}")) for name in spec.data], "train")
    total = spec.schedule.total_steps(len(source), spec.batch_size)
    task = PretrainTask(network, spec, tokenizer, _visual_tokenizer(context, spec), total).to(device)
    collate = CaptionCollate(TrainTransform(spec.transform), tokenizer, spec.model.max_words)
    evaluated = EvalTransform(spec.transform)
    size = context.options.micro_batch or max(1, spec.batch_size // world_size())
    pairs = validation_pairs(source.datasets[0], tokenizer, evaluated, spec.model.max_words, size, device)
    health = Health(task, pairs, total)
    config = LoopConfig(
        total=total,
        warmup=spec.schedule.warmup(total),
        optimiser=spec.optimiser,
        precision=spec.precision,
        collapse=spec.collapse,
        checkpoints=Checkpoints(context.checkpoints),
        events=context.directory / EVENTS,
        validate=health.measure,
        validate_at=health.steps,
        extra_state=health.state,
        load_extra_state=health.load,
        **context.options.of_training(),
    )

    def batches(start: int) -> Iterator[Batch]:
        for batch in training_batches(
            source, collate, spec.batch_size, spec.seed, spec.shuffle_block, start, total
        ):
            health.observe(batch)
            yield batch

    torch.manual_seed(spec.seed)
    trained = train(task, batches, config, device)
    trained.checks += health.findings(trained.curve)
    if rank() == 0:
        save_curve(trained, context.directory)
        write_text(context.directory / "health.csv", health.table())
        if trained.outcome.status == "converged" or trained.trained_on:
            state = {n: t for n, t in task.state_dict().items() if not n.startswith("visual_tokenizer.")}
            save_tensors(state, context.directory / WEIGHTS)
            save_network_config(network, context.directory)
    result = training_result(trained, spec.batch_size)
    if trained.trained_on:
        result.details["trained_on"] = True
    return result


def _visual_tokenizer(context: Context, spec: PretrainSpec) -> VisualTokenizer | None:
    if not spec.needs_visual_tokens:
        return None
    return load_visual_tokenizer(context.input("visual_tokens"), spec.transform.mean, spec.transform.std)
