"""The plain statement of the method is the fast step, for every setting that an ablation uses."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from torch.nn import functional as F

from mamo.albef import AlbefStep
from mamo.data.tokenizer import Tokenizer
from mamo.method import PlainStep, follow
from mamo.model import packing
from mamo.model.packing import set_packing
from mamo.model.target import update_target
from mamo.objectives.visual_tokens import DiscreteVae, VisualTokenizer
from mamo.specs.ablation import read_ablation
from mamo.specs.objectives import LossWeights
from mamo.specs.overrides import apply, build
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import read_scale
from mamo.tasks.pretrain import PretrainTask

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"
SCALES = ("paper", "demo")  # Eq. 1 to the letter, and a small scale's readings of it
STEPS = 40  # of a run, for the scales that give the target's momentum as a horizon
PAPER = ("mrm", "mim", "mlm", "itc", "itm")
ITEMS = ("loss", *PAPER)
# What a step of this size cannot have: every row is laid on these, whatever its scale.
SMALL = {
    "model": tiny.model_spec().model_dump(mode="json"),
    "transform": {"size": 32},
    "batch_size": 8,
}


def settings() -> Iterator[tuple[str, PretrainSpec]]:
    """Every distinct setting of masking, objectives and target in any row of any ablation, under the first row's name."""
    seen: set[str] = set()
    for scale in SCALES:
        base = read_scale(scale, ABLATIONS).pretrain.model_dump(mode="json")
        for path in sorted(ABLATIONS.glob("*.yaml")):
            ablation = read_ablation(path.stem, ABLATIONS)
            for row in ablation.rows:
                name = f"{scale}-{path.stem}-{row.key}"
                values = apply(base, {**ablation.base, **row.set}, name)
                values["objectives"]["itm_group"] = 4
                read = {key: values[key] for key in ("masking", "objectives", "target")}
                key = json.dumps(read, sort_keys=True)
                if key not in seen:
                    seen.add(key)
                    yield name, build(PretrainSpec, values | SMALL, name)


SETTINGS = dict(settings())


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tiny.tokenizer(tmp_path_factory.mktemp("words"))


def task_of(words: Tokenizer, spec: PretrainSpec) -> PretrainTask:
    """A task as in the middle of a run: followers differ from what they follow, and a queue is filled."""
    visual = (
        VisualTokenizer(DiscreteVae(16), 16, (0.5,) * 3, (0.25,) * 3) if spec.needs_visual_tokens else None
    )
    task = PretrainTask(tiny.network(words), spec, words, visual, STEPS)
    draws = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in task.named_parameters():
            if "temperature" not in name:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=draws))
        if task.queue is not None:
            for ring in (task.queue.image, task.queue.text):
                ring.copy_(F.normalize(torch.randn(ring.shape, generator=draws), dim=1))
    # In double precision, so that two orders of the same sums agree and tolerances can be tight.
    task.double()
    for part in (task.visual_tokenizer, task.queue):  # what works in single precision always
        if part is not None:
            part.float()
    return task


def gradients(task: PretrainTask) -> dict[str, torch.Tensor]:
    return {name: p.grad for name, p in task.named_parameters() if p.grad is not None}


def assert_equal(fast: PretrainTask, words: Tokenizer) -> None:
    """Compare a step of both: losses, gradients, and every state after it."""
    plain = copy.deepcopy(fast)
    albef = fast.spec.objectives.distillation is not None
    step = (AlbefStep if albef else PlainStep)(plain)
    batch = tiny.batch(words, step=4)
    batch["image"] = batch["image"].double()
    losses, expected = fast(batch), step(batch)
    assert set(expected) == {"loss", *fast.spec.objectives.names} & set(ITEMS)
    assert {name for name in losses if "_" not in name} - set(expected) == OTHERS & set(losses)
    for name in expected:
        value = losses[name].item()
        assert value > 0 and value == pytest.approx(expected[name].item(), rel=2e-6), name
    losses["loss"].backward()
    expected["loss"].backward()
    actual, reached = gradients(fast), gradients(plain)
    assert actual.keys() == reached.keys() and len(actual) > 70
    for name, gradient in actual.items():
        scale = gradient.abs().max().clamp(min=1e-3)
        torch.testing.assert_close(gradient / scale, reached[name] / scale, rtol=0, atol=2e-5, msg=name)
    for one in (fast, plain):
        with torch.no_grad():
            for parameter in (p for p in one.parameters() if p.requires_grad):
                parameter.add_(0.01)
    fast.after_step()
    step.after_step()
    for name, tensor in fast.state_dict().items():
        torch.testing.assert_close(tensor, plain.state_dict()[name], rtol=1e-5, atol=1e-6, msg=name)


# Losses that the paper does not have are not stated in its file; each has a test of its own.
OTHERS = set(LossWeights.model_fields) - set(PAPER)


def test_every_objective_of_the_paper_and_every_target_is_among_the_settings() -> None:
    """The settings are collected from files, and must not shrink unseen."""
    asked = [spec.objectives for spec in SETTINGS.values()]
    assert len(asked) > 40
    assert {name for one in asked for name in one.names} >= set(PAPER)
    assert {one.mim.target for one in asked if one.mim} == {"momentum_features", "pixels", "visual_tokens"}
    assert {one.mim.decoder_depth for one in asked if one.mim} >= {0, 2, 4, 6}
    assert {one.mrm.normalise for one in asked if one.mrm} == {"none", "l2", "layer"}
    assert any(one.distillation and one.distillation.alpha for one in asked)
    assert any(spec.target.lag for spec in SETTINGS.values())
    assert any(spec.target.mim_horizon for spec in SETTINGS.values())


@pytest.mark.parametrize("name", SETTINGS)
def test_the_plain_step_has_the_fast_steps_losses_and_gradients(words: Tokenizer, name: str) -> None:
    assert_equal(task_of(words, SETTINGS[name]), words)


def test_the_plain_step_is_the_packed_one_too(words: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "GROUP_SIZE", 2)
    task = task_of(words, tiny.pretrain_spec())
    set_packing(task, True)
    assert_equal(task, words)


def test_the_plain_moving_average_is_the_fused_one(words: Tokenizer) -> None:
    task = task_of(words, tiny.pretrain_spec())
    assert task.target is not None
    before = copy.deepcopy(task.target)
    plain = copy.deepcopy(task.target)
    update_target(task.target, task.online, 0.9)
    follow(plain, task.online, 0.9)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(tensor, task.target.state_dict()[name])
        if name.endswith("layers.0.mlp.expand.weight"):
            assert not torch.equal(tensor, before.state_dict()[name])
