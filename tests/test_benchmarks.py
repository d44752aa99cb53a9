"""What the benchmarks compare is equal in all but its cost."""

from __future__ import annotations

import pytest
import tiny
import torch

from benchmarks.measure import ratio
from benchmarks.plain_step import PlainStep, follow
from mamo.data.tokenizer import Tokenizer
from mamo.model.target import update_target
from mamo.tasks.pretrain import PretrainTask


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tiny.tokenizer(tmp_path_factory.mktemp("words"))


@pytest.fixture
def task(words: Tokenizer) -> PretrainTask:
    task = PretrainTask(tiny.network(words), tiny.pretrain_spec(), words)
    with torch.no_grad():  # a target that differs from the online network, as after a few steps
        for parameter in task.target.parameters():  # type: ignore[union-attr]
            parameter.add_(0.02 * torch.randn_like(parameter))
    return task


def gradients(task: PretrainTask) -> dict[str, torch.Tensor]:
    return {n: p.grad.clone() for n, p in task.named_parameters() if p.grad is not None}


def test_the_plain_step_has_the_products_losses_and_gradients(words: Tokenizer, task: PretrainTask) -> None:
    batch = tiny.batch(words)
    found = {}
    for name, step in (("product", task), ("plain", PlainStep(task))):
        task.zero_grad(set_to_none=True)
        losses = step(batch)
        losses["loss"].backward()
        found[name] = (losses, gradients(task))
    (losses, ours), (plain, theirs) = found["product"], found["plain"]
    for name in ("loss", "itc", "itm", "mlm", "mim", "mrm"):
        torch.testing.assert_close(losses[name], plain[name], rtol=1e-5, atol=1e-6)
    assert ours.keys() == theirs.keys() and len(ours) > 80
    for name, gradient in ours.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(gradient / scale, theirs[name] / scale, rtol=0, atol=2e-4, msg=name)


def test_the_plain_moving_average_is_the_fused_one(task: PretrainTask) -> None:
    assert task.target is not None
    before = {name: tensor.clone() for name, tensor in task.target.state_dict().items()}
    update_target(task.target, task.online, 0.9)
    fused = {name: tensor.clone() for name, tensor in task.target.state_dict().items()}
    task.target.load_state_dict(before)
    follow(task.target, task.online, 0.9)
    for name, tensor in task.target.state_dict().items():
        torch.testing.assert_close(tensor, fused[name])
        if name.endswith("layers.0.mlp.expand.weight"):
            assert not torch.equal(tensor, before[name])


def test_ratios_are_of_rounds_not_of_sums() -> None:
    """One slow round, which falls on both sides, moves nothing."""
    assert ratio([2.0, 2.0, 20.0, 2.0], [1.0, 1.0, 10.0, 1.0]).median == 2.0
    found = ratio([3.0, 2.0, 4.0], [1.0, 1.0, 1.0])
    assert (found.low, found.median, found.high) == (2.5, 3.0, 3.5)
