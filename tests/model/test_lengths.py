"""Packed sequences: nothing is lost on the way, and every loss and gradient is that of the padded batch."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import tiny
import torch

from mamo.model import packing
from mamo.model.packing import Packing, pack, set_packing, unpack
from mamo.specs.optimisation import OptimiserSpec
from mamo.tasks.pretrain import PretrainTask
from mamo.training.loop import LoopConfig, train


@pytest.fixture(autouse=True)
def pairs_of_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "GROUP_SIZE", 2)


def encoder() -> Packing:
    made = Packing()
    made.packs = True
    return made


def mask_of(*counts: int) -> torch.Tensor:
    return (torch.arange(max(counts)) < torch.tensor(counts)[:, None]).long()


def test_groups_are_of_like_length_and_hold_every_sequence_once() -> None:
    groups = encoder().groups(mask_of(7, 2, 5, 3, 2, 9, 4))
    assert [group.longest for group in groups] == [2, 4, 9]
    assert [group.rows.tolist() for group in groups] == [[1, 4], [3, 6], [2, 0, 5]]
    assert encoder().groups(mask_of(7, 2, 5)) == []  # too few for two groups
    assert Packing().groups(mask_of(7, 2, 5, 3)) == []


def test_unpacking_gives_back_all_but_the_padding_and_so_do_gradients() -> None:
    mask = mask_of(4, 1, 3, 2, 5)
    groups = encoder().groups(mask)
    x = torch.randn(5, 5, 3, dtype=torch.float64, requires_grad=True)
    packed = pack(x, groups)
    assert len(packed) == sum(len(rows) * longest for rows, longest in groups) < mask.numel()
    there = unpack(packed, groups, 5)
    torch.testing.assert_close(there * mask[..., None], x * mask[..., None])
    assert torch.autograd.gradcheck(lambda y: pack(y, groups), x)
    row = torch.randn(packed.shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda y: unpack(y, groups, 5), row)


def test_a_text_without_tokens_keeps_a_place() -> None:
    groups = encoder().groups(torch.zeros(4, 3, dtype=torch.long))
    assert [group.longest for group in groups] == [1, 1]
    assert unpack(pack(torch.ones(4, 3, 2), groups), groups, 3).sum() == 4 * 2


@pytest.mark.parametrize("changes", [{}, {"mim": {"decoder_depth": 2}}, {"mrm": None}, {"itm_random": 0.5}])
def test_losses_and_gradients_are_those_of_the_padded_batch(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    words = tiny.tokenizer(tmp_path)
    spec = tiny.pretrain_spec(objectives={"itm_group": 4} | changes)
    torch.manual_seed(1)
    padded = PretrainTask(tiny.network(words), spec, words)
    packed = copy.deepcopy(padded)
    set_packing(packed, True)
    batch = tiny.batch(words)
    assert len(packed.network.text.groups(batch["mask"])) == 4
    actual, expected = packed(batch), padded(batch)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-6)
    actual["loss"].backward()
    expected["loss"].backward()
    for (name, ours), theirs in zip(packed.named_parameters(), padded.parameters(), strict=True):
        if theirs.grad is None:
            assert ours.grad is None, name
        else:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5, msg=name)


def test_training_packs_and_evaluation_does_not(tmp_path: Path) -> None:
    words = tiny.tokenizer(tmp_path)
    task = PretrainTask(tiny.network(words), tiny.pretrain_spec(), words)
    encoder, seen = task.network.text, []
    encoder.register_forward_hook(lambda *_: seen.append(encoder.packs))
    config = LoopConfig(
        total=2,
        warmup=0,
        optimiser=OptimiserSpec(lr=1e-3),
        precision="fp32",
        validate=lambda step: seen.append(encoder.packs),
        validate_at=frozenset({1}),
    )
    train(
        task, lambda start: (tiny.batch(words, step=s) for s in range(start, 2)), config, torch.device("cpu")
    )
    assert seen == [True, True, False, True, True]
    assert not encoder.packs
