"""ALBEF's queue and soft targets, against hand-computed values."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch
from micro_batches import pretraining
from torch.nn.functional import normalize

from mamo.data.tokenizer import Tokenizer
from mamo.objectives.distillation import (
    MomentumQueue,
    Pair,
    distilled_mlm_loss,
    momentum_itc_loss,
    soft_share,
)
from mamo.objectives.itc import itc_loss
from mamo.specs.identity import Run
from mamo.specs.objectives import DistillationSpec
from mamo.specs.pretrain import PretrainSpec

TAU = torch.tensor(0.2)


@pytest.fixture
def words(tmp_path: Path) -> Tokenizer:
    return tiny.tokenizer(tmp_path)


def pairs(count: int, seed: int) -> Pair:
    numbers = torch.Generator().manual_seed(seed)
    return Pair(*(normalize(torch.randn(count, 6, generator=numbers), dim=1) for _ in range(2)))


def test_without_queue_and_soft_targets_and_with_equal_networks_it_is_the_papers_loss() -> None:
    same = pairs(5, 0)
    loss = momentum_itc_loss(same, same, TAU, None, 0, 0.0)
    torch.testing.assert_close(loss, itc_loss(*same, TAU))


def test_queue_and_soft_targets_by_hand() -> None:
    online, momentum, earlier = pairs(2, 0), pairs(2, 1), pairs(2, 2)
    queue = MomentumQueue(4, 6)
    queue.write(0, earlier)
    loss = momentum_itc_loss(online, momentum, TAU, queue, 1, 0.3)
    total = 0.0
    for ours, theirs, ring, candidates in (
        (online.image, momentum.image, earlier.text, momentum.text),
        (online.text, momentum.text, earlier.image, momentum.image),
    ):
        for own in range(2):
            rows = [*candidates, *ring]
            logits = torch.stack([ours[own] @ row / TAU for row in rows]).log_softmax(0)
            soft = torch.stack([theirs[own] @ row / TAU for row in rows]).softmax(0)
            hard = torch.eye(4)[own]
            total += -float(((0.3 * soft + 0.7 * hard) * logits).sum())
    assert loss.item() == pytest.approx(total / 4, rel=1e-5)


def test_the_queue_holds_the_last_batches_and_starts_empty() -> None:
    queue = MomentumQueue(6, 6)
    assert len(queue.read(0, 2).image) == 0
    batches = [pairs(2, seed) for seed in range(5)]
    for step, batch in enumerate(batches):
        assert len(queue.read(step, 2).text) == min(2 * step, 6)
        queue.write(step, batch)
    held = {tuple(row) for row in queue.read(5, 2).image.tolist()}
    assert held == {tuple(row) for batch in batches[2:] for row in batch.image.tolist()}


def test_soft_mlm_targets_by_hand() -> None:
    logits, momentum = torch.tensor([[1.0, 0.0, -1.0]]), torch.tensor([[0.0, 2.0, 0.0]])
    loss = distilled_mlm_loss(logits, momentum, torch.tensor([2]), 0.4, torch.tensor(1))
    hard, soft = torch.tensor([0.0, 0.0, 1.0]), momentum[0].softmax(0)
    by_hand = -((0.6 * hard + 0.4 * soft) * logits[0].log_softmax(0)).sum()
    torch.testing.assert_close(loss, by_hand)


def test_the_share_of_soft_targets_rises() -> None:
    spec = DistillationSpec(alpha=0.4, ramp=0.1)
    assert [soft_share(spec, share) for share in (0, 0.05, 0.1, 0.99)] == pytest.approx([0.0, 0.2, 0.4, 0.4])
    assert soft_share(DistillationSpec(alpha=0.4), 0) == 0.4


def test_the_target_network_and_its_head_follow_and_take_no_gradient(words: Tokenizer) -> None:
    task = pretraining(words, mim=None, mrm=None, distillation={"queue": 16})
    assert task.target is not None and task.momentum_mlm_head is not None and task.mlm_head is not None
    out = task(tiny.batch(words))
    assert set(out) == {"loss", "itc", "itm", "mlm"}
    out["loss"].backward()
    following = [*task.target.parameters(), *task.momentum_mlm_head.parameters()]
    assert following and all(p.grad is None and not p.requires_grad for p in following)
    before = task.momentum_mlm_head.bias.clone()
    with torch.no_grad():
        task.mlm_head.bias.add_(1.0)
    task.after_step()
    torch.testing.assert_close(task.momentum_mlm_head.bias, before + 0.005)
    assert {"queue.image", "queue.text", "momentum_mlm_head.bias"} <= set(task.state_dict())


def test_the_queue_changes_the_loss_from_the_second_step_on(words: Tokenizer) -> None:
    with_queue = pretraining(words, mim=None, mrm=None, distillation={"queue": 16})
    without = pretraining(words, mim=None, mrm=None, distillation={"queue": 0})
    first, second = ((task(tiny.batch(words)), task(tiny.batch(words, 1))) for task in (with_queue, without))
    assert first[0]["itc"] == second[0]["itc"]
    assert first[1]["itc"] > second[1]["itc"], "more candidates, a harder choice"


def test_a_queue_holds_whole_batches_and_needs_itc() -> None:
    values = {"batch_size": 8, "objectives": {"itm_group": 4, "distillation": {"queue": 12}}}
    with pytest.raises(ValueError, match="queue 12 is not a multiple of batch_size 8"):
        tiny.pretrain_spec(**values)
    with pytest.raises(ValueError, match="needs itc"):
        tiny.pretrain_spec(objectives={"itc": False, "itm": False, "distillation": {}})


def test_settings_that_came_later_leave_the_identity_of_earlier_runs_alone() -> None:
    spec = PretrainSpec().model_dump(mode="json")
    earlier = {**spec, "masking": dict(spec["masking"]), "objectives": dict(spec["objectives"])}
    for section, name in (("masking", "unit"), ("masking", "span_words"), ("objectives", "distillation")):
        del earlier[section][name]
    assert Run("pretrain", "mamo", spec).digest == Run("pretrain", "mamo", earlier).digest
    for changed in (
        {**spec, "masking": {**spec["masking"], "unit": "span"}},
        {**spec, "objectives": {**spec["objectives"], "distillation": DistillationSpec().model_dump()}},
    ):
        assert Run("pretrain", "mamo", changed).digest != Run("pretrain", "mamo", spec).digest
