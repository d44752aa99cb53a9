"""The pre-training task: which gradients flow where, and that every switch does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny
import torch

from mamo.model.vision import gather_tokens
from mamo.objectives.itm import Negatives
from mamo.objectives.visual_tokens import DiscreteVae, VisualTokenizer
from mamo.tasks.batch_pass import WholeBatch
from mamo.tasks.pretrain import PretrainTask
from mamo.tasks.views import fuse_views, take_pairs


@pytest.fixture
def words(tmp_path: Path):
    return tiny.tokenizer(tmp_path)


def make(words, **objectives) -> PretrainTask:
    spec = tiny.pretrain_spec(objectives={"itm_group": 4} | objectives)
    visual = None
    if spec.needs_visual_tokens:
        visual = VisualTokenizer(DiscreteVae(16), 16, (0.5,) * 3, (0.25,) * 3)
    torch.manual_seed(1)
    return PretrainTask(tiny.network(words), spec, words, visual).train()


def test_the_loss_is_the_plain_sum_of_all_five(words) -> None:
    out = make(words)(tiny.batch(words))
    parts = [out[name] for name in ("itc", "itm", "mlm", "mim", "mrm")]
    torch.testing.assert_close(out["loss"], torch.stack(parts).sum())
    assert all(torch.isfinite(part) and part > 0 for part in parts)


def test_every_online_parameter_learns_and_no_target_one_does(words) -> None:
    task = make(words)
    task(tiny.batch(words))["loss"].backward()
    for name, parameter in task.named_parameters():
        if name.startswith("target."):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), name


def test_mrm_and_mim_send_no_gradient_into_the_target_even_if_it_could_take_one(words) -> None:
    task = make(words)
    for parameter in task.target.parameters():
        parameter.requires_grad_(True)
    task(tiny.batch(words))["loss"].backward()
    assert all(p.grad is None for p in task.target.parameters())


def test_the_target_sees_the_unmasked_pair_and_follows_by_ema(words) -> None:
    task = make(words)
    batch = tiny.batch(words)
    vision = task.target.vision(batch["image"])
    task.eval()
    torch.testing.assert_close(vision, task.network.encode_image(batch["image"]))
    before = {n: p.clone() for n, p in task.target.named_parameters()}
    with torch.no_grad():
        for parameter in task.online.parameters():
            parameter.add_(1.0)
    task.after_step()
    for name, parameter in task.target.named_parameters():
        if "temperature" not in name:
            torch.testing.assert_close(parameter, before[name] + 0.005, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("objectives", "parts"),
    [
        ({"mlm": False, "mim": None, "mrm": None}, {"itc", "itm"}),
        ({"mim": None, "mrm": None}, {"itc", "itm", "mlm"}),
        ({"mlm": False, "mim": None}, {"itc", "itm", "mrm"}),
        ({"mrm": {"text": False}}, {"itc", "itm", "mlm", "mim", "mrm"}),
        ({"mrm": {"image": False}}, {"itc", "itm", "mlm", "mim", "mrm"}),
        ({"mrm": {"predictor": False}}, {"itc", "itm", "mlm", "mim", "mrm"}),
        ({"mim": {"target": "pixels", "decoder_depth": 2}}, {"itc", "itm", "mlm", "mim", "mrm"}),
        ({"mim": {"target": "visual_tokens"}}, {"itc", "itm", "mlm", "mim", "mrm"}),
    ],
)
def test_each_switch(words, objectives, parts) -> None:
    task = make(words, **objectives)
    out = task(tiny.batch(words))
    monitored = {name for name in out if name.startswith(("spread_", "error_"))}
    assert set(out) - {"loss"} - monitored == parts
    out["loss"].backward()
    assert (task.target is None) == (not ({"mrm", "mim"} & parts))
    if objectives.get("mrm") == {"predictor": False}:
        assert isinstance(task.predictor, torch.nn.Identity)


def test_mrm_on_text_does_not_read_the_image_view(words) -> None:
    both, text = make(words)(tiny.batch(words)), make(words, mrm={"image": False})(tiny.batch(words))
    image = make(words, mrm={"text": False})(tiny.batch(words))
    torch.testing.assert_close(both["mrm"], text["mrm"] + image["mrm"])


def test_losses_depend_on_seed_and_step_alone(words) -> None:
    task = make(words)
    first, again = task(tiny.batch(words, step=3)), task(tiny.batch(words, step=3))
    other = task(tiny.batch(words, step=4))
    assert first["loss"] == again["loss"] and first["mlm"] != other["mlm"]


@pytest.mark.parametrize("depth", [0, 2])
def test_stacked_fusion_equals_one_whole_pass_per_view(words, depth: int) -> None:
    task = make(words, mim={"decoder_depth": depth}).eval()
    batch = tiny.batch(words)
    network = task.network
    patches, masked = task.masks(batch["ids"], batch["mask"], 0, 0)
    visual, text = network.encode_image(batch["image"]), network.encode_text(batch["ids"], batch["mask"])
    order = torch.arange(8).flip(0)
    negatives, part = Negatives(image=order, text=order), slice(0, 8)
    pairs = take_pairs(batch, WholeBatch(network, batch), part, negatives, patches, masked)
    stacked = fuse_views(network, task.spec.objectives, pairs, task.decodes)
    mask, hidden = batch["mask"], network.encode_text(masked.ids, batch["mask"])
    views = {
        "matched": (visual, text, mask),
        "wrong_text": (visual, text.flip(0), mask.flip(0)),
        "wrong_image": (visual.flip(0), text, mask),
        "masked_text": (visual, hidden, mask),
        "masked_image": (network.encode_image(batch["image"], patches.keep), text, mask),
    }
    assert set(stacked) == set(views)
    alone = {name: network.fuse(*view) for name, view in views.items()}
    torch.testing.assert_close(stacked["matched"][:, 0], alone["matched"].cls)
    torch.testing.assert_close(stacked["wrong_text"][:, 0], alone["wrong_text"].cls)
    torch.testing.assert_close(stacked["wrong_image"][:, 0], alone["wrong_image"].cls)
    torch.testing.assert_close(stacked["masked_text"], alone["masked_text"].text[masked.chosen])
    image = alone["masked_image"].image
    torch.testing.assert_close(
        stacked["masked_image"], image if depth else gather_tokens(image[:, 1:], patches.masked)
    )
