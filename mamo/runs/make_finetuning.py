"""Make downstream runs: fine-tune from a pre-training, choose the weights on val, evaluate on test."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from mamo.data.batches.collate import COLLATES, Batch
from mamo.data.batches.transforms import TrainTransform
from mamo.data.releases.vqa_server import SCORES
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import Prepared
from mamo.data.tokenizer import Tokenizer
from mamo.files.record import Check, Outcome
from mamo.files.writing import write_text
from mamo.model.distributed import rank
from mamo.runs.run import Context, Result, RunError
from mamo.runs.save import WEIGHTS, load_network, save_network_config, save_tensors
from mamo.runs.training import save_curve, training_batches, training_result
from mamo.specs.finetune import JobSpec, VqaSpec
from mamo.tasks.evaluation_checks import InvalidEvaluation, check_items, check_metrics
from mamo.tasks.registry import make_task, read_spec
from mamo.tasks.retrieval import RetrievalTask
from mamo.tasks.task import DownstreamTask, Evaluation
from mamo.training.checkpoints import Checkpoints, State
from mamo.training.distributed import process_group
from mamo.training.findings import check
from mamo.training.loop import LoopConfig, Trained, pick_device, train
from mamo.training.progress_log import EVENTS


def make_finetuning(context: Context) -> Result:
    """Fine-tune and evaluate; skipped if the pre-training diverged, unless it trained on to its end."""
    init = context.record("init")
    if init.outcome.status == "diverged" and not init.details.get("trained_on"):
        why = f"its pre-training {init.run} diverged: {init.outcome.reason}"
        return Result(Outcome("skipped", why), {}, {})
    with process_group():
        return _finetune(context)


def load_task(context: Context) -> tuple[DownstreamTask, JobSpec, list[Prepared]]:
    """Load the run's task on the device, from its pre-training's weights, with its data sets."""
    spec = read_spec(context.run.spec)
    tokenizer = Tokenizer.load(context.input("text"))
    data = [Prepared(context.input(f"data:{name}")) for name in spec.data]
    torch.manual_seed(spec.seed)
    network = load_network(context.input("init"))
    network.resize(spec.transform.size)
    world = context.world(context.run.inputs[f"data:{spec.data[0]}"])
    return make_task(network, spec, tokenizer, data[0], world).to(pick_device()), spec, data


def evaluate_weights(context: Context) -> dict[str, float]:
    """Measure the metrics of the run's stored weights (of its pre-training's, if it trained none)."""
    from mamo.model.pretrained import load_exactly, read_state

    task, _, data = load_task(context)
    path = context.directory / WEIGHTS
    if path.is_file():
        load_exactly(task, read_state(path), path)
    evaluation = task.eval().test(data[0])
    check_evaluation(task, data[0], evaluation, context)
    return evaluation.recorded


def _finetune(context: Context) -> Result:
    task, spec, data = load_task(context)
    trained = _train(context, task, spec, data)
    result = training_result(trained, spec.batch_size)
    if trained.steps and isinstance(task, RetrievalTask) and trained.outcome.status == "converged":
        result.checks.extend(_recall_on_val(context, task, data[0]))
    if rank() == 0:
        save_curve(trained, context.directory)
    if trained.outcome.status == "diverged":
        return result
    task.eval()
    evaluation = task.test(data[0])  # on all ranks, which may share the work
    if rank() != 0:
        return result
    checks = check_evaluation(task, data[0], evaluation, context)
    if trained.steps:
        save_tensors(task.state_dict(), context.directory / WEIGHTS)
        save_network_config(task.network, context.directory)
    save_evaluation(evaluation, context)
    metrics = evaluation.recorded | result.metrics
    return Result(result.outcome, metrics, result.details, [*result.checks, *checks])


def _recall_on_val(context: Context, task: RetrievalTask, data: Prepared) -> list[Check]:
    """Check on the validation split whether fine-tuning helps, and whether re-ranking by ITM does.

    The network before fine-tuning is the pre-trained one, at its own resolution.
    """
    network, spec = load_network(context.input("init")), task.spec
    transform = spec.transform.model_copy(update={"size": network.spec.image_size})
    untrained = make_task(
        network, spec.model_copy(update={"transform": transform}), task.tokenizer, data, None
    )
    assert isinstance(untrained, RetrievalTask)
    before = untrained.to(pick_device()).eval().evaluate(data, "val").metrics
    after = task.eval().evaluate(data, "val").metrics
    old, new = before["mean_recall"], after["mean_recall"]
    says = f"mean recall on val {new:.1f} after fine-tuning, {old:.1f} before (at {transform.size} pixels)"
    checks = [check("fine-tuning", new >= old, says, after=new, before=old)]
    gains = {way: after[f"{way}_r1"] - after[f"itc_{way}_r1"] for way in ("tr", "ir")}
    listed = ", ".join(
        f"{what} {metrics[f'itc_{way}_r1']:.1f} -> {metrics[f'{way}_r1']:.1f}{when}"
        for metrics, when in ((after, ""), (before, " before fine-tuning"))
        for what, way in (("text", "tr"), ("image", "ir"))
    )
    says = f"R@1 on val by similarity alone and re-ranked by ITM: {listed}"
    return [*checks, check("re-ranking on val", min(gains.values()) >= 0, says, **gains)]


def check_evaluation(
    task: DownstreamTask, data: Prepared, evaluation: Evaluation, context: Context
) -> list[Check]:
    """Check that an evaluation measured every item of its splits and that its metrics are possible.

    Raises:
        RunError: an item is missing or a metric is impossible; such numbers are not recorded.
    """
    try:
        expected = task.items_of(data, evaluation)
        checks = [check("metrics", True, check_metrics(evaluation.recorded))]
        if expected:
            measured = check_items(evaluation.items, expected)
            checks.append(check("items", True, f"every item is measured: {measured}", items=expected))
        return checks
    except InvalidEvaluation as error:
        raise RunError(f"{context.run.key}: {error}") from error


def _train(context: Context, task: DownstreamTask, spec: JobSpec, data: list[Prepared]) -> Trained:
    weights = [1.0] + [spec.extra_weight if isinstance(spec, VqaSpec) else 1.0] * (len(data) - 1)
    source = ConcatRecords(data, "train", weights)
    task.network.vision.remember(spec.transform.repeats)
    total = spec.schedule.total_steps(len(source), spec.batch_size)
    collate = COLLATES[source.kind](
        TrainTransform(spec.transform), task.tokenizer, task.network.spec.max_words
    )
    best = _Best(task, data[0])
    rounds = max(1, min(spec.validations, total))
    config = LoopConfig(
        total=total,
        warmup=spec.schedule.warmup(total),
        optimiser=spec.optimiser,
        precision=spec.precision,
        checkpoints=Checkpoints(context.checkpoints),
        events=context.directory / EVENTS,
        validate=best.validate if rounds > 1 else None,
        validate_at=frozenset(round(total * (i + 1) / rounds) for i in range(rounds)),
        extra_state=best.state,
        load_extra_state=best.load,
        **context.options.of_training(),
    )

    def batches(start: int) -> Iterator[Batch]:
        return training_batches(source, collate, spec.batch_size, spec.seed, spec.shuffle_block, start, total)

    trained = train(task, batches, config, pick_device())
    best.restore()
    return trained


class _Best:
    """Keep the weights that scored best on val."""

    def __init__(self, task: DownstreamTask, data: Prepared) -> None:
        self.task, self.data = task, data
        self.score = float("-inf")
        self.weights: dict[str, torch.Tensor] | None = None

    def validate(self, step: int) -> None:
        """Score the current weights, and keep them if none were better."""
        score = self.task.validate(self.data)
        if not math.isfinite(score):
            raise RunError(
                f"the validation score after {step} steps is {score}: it cannot be used to choose weights"
            )
        if score > self.score:
            self.score = score
            self.weights = {
                name: tensor.detach().cpu().clone() for name, tensor in self.task.state_dict().items()
            }

    def restore(self) -> None:
        """Put the best weights back."""
        if self.weights is not None:
            self.task.load_state_dict(self.weights)

    def state(self) -> State:
        """Return the state for a checkpoint."""
        return {"score": self.score, "weights": self.weights}

    def load(self, state: State) -> None:
        """Restore the state from a checkpoint."""
        self.score, self.weights = state["score"], state["weights"]


def save_evaluation(evaluation: Evaluation, context: Context) -> None:
    """Save results per item, for statistics over items, and the task's own files."""
    if evaluation.items:
        import pyarrow as pa

        path = context.directory / "items.arrow"
        table = pa.table(evaluation.items)
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table)
    for name, text in evaluation.files.items():
        # Never overwrite scores that people entered.
        if name != SCORES or not (context.directory / name).exists():
            write_text(context.directory / name, text)
