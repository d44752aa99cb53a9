"""Micro-batches give the losses and gradients of one big batch; what else trades memory or time changes nothing either."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import nlvr2_task
import pytest
import tiny
import torch
import vqa_task
from micro_batches import SPECS, pretraining

from mamo.data.batches.transforms import EvalTransform
from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.model.transformer import trained_layers
from mamo.specs.finetune import RetrievalSpec
from mamo.specs.optimisation import OptimiserSpec
from mamo.tasks.accumulation import CachedFeatures
from mamo.tasks.retrieval import RetrievalTask
from mamo.tasks.task import Task
from mamo.training.loop import LoopConfig, train


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tiny.tokenizer(tmp_path_factory.mktemp("words"))


def whole(task: Task, batch: dict[str, Any]) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    task.zero_grad()
    parts = task(batch)
    parts["loss"].backward()
    return numbers(parts), gradients(task)


def numbers(parts: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in parts.items() if not name.startswith(("spread_", "error_"))}


def gradients(task: Task) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}


def assert_same(
    task: Task, batch: dict[str, Any], size: int, prepare: Callable[[], None] = lambda: None
) -> None:
    prepare()
    expected, slopes = whole(task, batch)
    task.zero_grad()
    prepare()
    actual = numbers(task.accumulate(batch, size, nullcontext))
    assert actual == pytest.approx(expected, rel=1e-5, abs=1e-6)
    reached = gradients(task)
    assert set(reached) == set(slopes)
    assert max(g.abs().max().item() for g in slopes.values()) > 1e-3
    for name, slope in slopes.items():
        torch.testing.assert_close(
            reached[name], slope, rtol=1e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("objectives", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("size", [3, 4])
def test_pre_training_in_micro_batches(words: Tokenizer, objectives: dict[str, Any], size: int) -> None:
    """Also where 3 divides neither the batch nor the groups among which ITM draws its negatives."""
    assert_same(pretraining(words, **objectives), tiny.batch(words), size)


def test_contrast_within_micro_batches_alone_would_be_another_loss(words: Tokenizer) -> None:
    """What the cached features are for: plain accumulation loses the negatives of other micro-batches."""
    task, batch = pretraining(words, mim=None, mrm=None, mlm=False), tiny.batch(words)
    exact = task.accumulate(batch, 4, nullcontext)["itc"].item()
    plain = Task.accumulate(task, batch, 4, nullcontext)["itc"].item()
    assert exact == pytest.approx(task(batch)["itc"].item(), rel=1e-5)
    assert plain < 0.8 * exact


def test_dropout_is_the_same_in_both_encodings(words: Tokenizer) -> None:
    """One micro-batch draws what the whole batch draws, so with dropout too the gradient must be its."""
    task = pretraining(words, dropout=0.3)
    assert_same(task, tiny.batch(words), 8, lambda: torch.manual_seed(7) and None)
    torch.manual_seed(7)
    cached = CachedFeatures(task.network, tiny.batch(words), 3, nullcontext)
    for part, state in zip(cached.parts, cached._states, strict=True):
        with state.again():
            again = cached._encode(part)[1]
        torch.testing.assert_close(again, cached.text[part])
    assert not torch.equal(cached._encode(cached.parts[0])[1], cached.text[cached.parts[0]])


def test_bf16_trains_every_weight_in_micro_batches(words: Tokenizer) -> None:
    """Weights that autocast converted for the encodings without gradients must not hide them from the later ones."""
    task, batch = pretraining(words), tiny.batch(words)
    bf16 = lambda: torch.autocast("cpu", torch.bfloat16)  # noqa: E731
    with bf16():
        loss = task(batch)["loss"]
    loss.backward()
    expected = gradients(task)
    task.zero_grad()
    task.accumulate(batch, 4, bf16)
    reached = gradients(task)
    assert set(reached) == set(expected)
    for name in (
        "online.network.vision.patch_embedding.weight",
        "online.network.text.layers.0.mlp.expand.weight",
    ):
        similar = torch.cosine_similarity(reached[name].flatten(), expected[name].flatten(), 0)
        assert similar > 0.98, (name, similar)


@pytest.mark.parametrize("size", [3, 4])
def test_alignment_in_micro_batches(words: Tokenizer, size: int) -> None:
    shared = vqa_task.SPEC.model_dump(include={"transform", "optimiser", "schedule"})
    spec = RetrievalSpec(data=("coco",), batch_size=8, precision="fp32", itm_random=0.2, **shared)
    task = RetrievalTask(tiny.network(words), spec, words, EvalTransform(spec.transform)).train()
    assert_same(task, tiny.batch(words), size)


def test_nlvr2_in_micro_batches(tmp_path: Path) -> None:
    tokenizer = train_wordpiece(nlvr2_task.TEXTS, 60, tmp_path)
    assert_same(nlvr2_task.make_task(tokenizer), nlvr2_task.make_batch(tokenizer, nlvr2_task.TEXTS), 3)


def test_vqa_in_micro_batches(tmp_path: Path) -> None:
    """With different numbers of answers to the questions."""
    tokenizer = train_wordpiece(
        ["is the car red", "what is left of the dog", *vqa_task.ANSWERS], 64, tmp_path
    )
    answers = [["red"], ["red", "dog", "red cart"], ["carton", "no"]]
    weights = [[1.0], [0.5, 0.3, 0.2], [0.6, 0.4]]
    assert_same(vqa_task.make_task(tokenizer), vqa_task.make_batch(tokenizer, answers, weights), 2)


def test_the_loop_trains_alike_in_micro_batches(words: Tokenizer) -> None:
    def curve(**how: Any) -> list[dict[str, float]]:
        torch.manual_seed(2)
        config = LoopConfig(total=4, warmup=1, optimiser=OptimiserSpec(lr=1e-3), precision="fp32", **how)
        batches = lambda start: (tiny.batch(words, step=s) for s in range(start, 4))  # noqa: E731
        return train(pretraining(words), batches, config, torch.device("cpu")).curve

    plain, micro = curve(), curve(micro_batch=3, activation_checkpointing=True)
    for one, other in zip(plain, micro, strict=True):
        assert {k: v for k, v in one.items() if not k.startswith(("spread_", "error_"))} == pytest.approx(
            {k: v for k, v in other.items() if not k.startswith(("spread_", "error_"))}, rel=1e-4
        )


def kept(task: Task, batch: dict[str, Any]) -> tuple[int, dict[str, torch.Tensor]]:
    """Bytes that a forward keeps for the way back, and the gradients."""
    saved: dict[int, int] = {}
    torch.manual_seed(4)

    def note(tensor: torch.Tensor) -> torch.Tensor:
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    task.zero_grad()
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        loss = task(batch)["loss"]
    loss.backward()
    return sum(saved.values()), gradients(task)


def test_checkpointing_keeps_less_and_changes_no_gradient(words: Tokenizer) -> None:
    task, batch = pretraining(words, dropout=0.2), tiny.batch(words)
    plain, expected = kept(task, batch)
    for layer in trained_layers(task):
        layer.checkpointing = True
    less, actual = kept(task, batch)
    assert less < 0.6 * plain
    for name, slope in expected.items():
        assert torch.equal(actual[name], slope), name
    assert not any(layer.checkpointing for layer in task.target.modules() if hasattr(layer, "checkpointing"))


@pytest.mark.slow
def test_compiled_layers_give_the_same_and_keep_their_names(words: Tokenizer) -> None:
    task, batch = pretraining(words), tiny.batch(words)
    expected, slopes = whole(task, batch)
    names = list(task.state_dict())
    for layer in trained_layers(task):
        layer.checkpointing = True
        layer.compile(backend="aot_eager")  # what inductor adds to it needs a C++ compiler
    actual, reached = whole(task, batch)
    assert list(task.state_dict()) == names
    assert actual == pytest.approx(expected, rel=1e-5)
    for name, slope in slopes.items():
        torch.testing.assert_close(reached[name], slope, rtol=1e-4, atol=1e-6)
