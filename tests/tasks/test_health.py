"""Health of a pre-training: skills against an item's own mean, the other modality's help, the teacher, and what warns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import tiny
import torch

from mamo.data.tokenizer import Tokenizer
from mamo.files.record import Check
from mamo.objectives.masking import PatchMask
from mamo.tasks.health import Ratio, ValidationPairs, _add_spread, _image_side, gradient_shares, measure_pairs
from mamo.tasks.pretrain import PretrainTask
from mamo.training.findings import warned
from mamo.training.health import Health, holds_look_alike, plateau_left


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tiny.tokenizer(tmp_path_factory.mktemp("words"))


def task_of(words: Tokenizer, **objectives: Any) -> PretrainTask:
    torch.manual_seed(0)
    spec = tiny.pretrain_spec(objectives={"itm_group": 4} | objectives)
    return PretrainTask(tiny.network(words), spec, words)


def pairs_of(words: Tokenizer) -> ValidationPairs:
    return ValidationPairs(tiny.batch(words), 4)


TARGET = torch.randn(3, 16, 8, generator=torch.Generator().manual_seed(0)) + torch.arange(3.0)[:, None, None]
MASK = PatchMask(torch.arange(4).expand(3, 4), torch.arange(4, 16).expand(3, 12))


@pytest.mark.parametrize(
    ("says", "skill"),
    [
        (lambda target: target[:, 4:], 1.0),
        (lambda target: target.median(1, keepdim=True).values.expand_as(target)[:, 4:], 0.0),
        (lambda target: torch.zeros_like(target[:, 4:]), None),
    ],
    ids=["the targets", "each image's own median", "the same of every image"],
)
def test_mim_is_measured_against_each_images_own_median(
    says: Callable[[torch.Tensor], torch.Tensor], skill: float | None
) -> None:
    task, ratio = SimpleNamespace(decodes=True, mim_head=lambda fused, masked: says(TARGET)), Ratio()
    fused = torch.zeros(3, 17, 8)
    _image_side(task, "mim", fused, fused, TARGET, MASK, ratio)  # type: ignore[arg-type]
    if skill is None:
        assert ratio.skill < -0.2  # what does not tell images apart is worse than knowing each one's middle
    else:
        assert ratio.skill == pytest.approx(skill, abs=1e-5)
    assert ratio.partner == 0.0


def test_within_items_a_level_does_not_count_and_saying_the_same_everywhere_explains_nothing() -> None:
    items, target = torch.tensor([0, 0, 0, 1, 1, 1]), torch.randn(6, 8)
    shifted, constant, halved = Ratio(), Ratio(), Ratio()
    level = torch.randn(2, 8)[items]
    shifted.add_within(target + level, target, items)
    assert shifted.within == pytest.approx(1.0)
    constant.add_within(level, target, items)
    assert constant.within == pytest.approx(0.0, abs=1e-5)
    halved.add_within(target / 2 + level, target, items)  # misses half of each deviation
    assert halved.within == pytest.approx(0.75)


def test_codes_are_measured_against_each_images_commonest() -> None:
    codes = torch.tensor([[7, 7, 1, 2, 7, 3, 4, 5]])
    mask, ratio = PatchMask(torch.arange(4)[None], torch.arange(4, 8)[None]), Ratio()
    logits = torch.nn.functional.one_hot(torch.tensor([[7, 3, 0, 0]]), 9).float()
    task = SimpleNamespace(decodes=True, mim_head=lambda fused, masked: logits)
    _image_side(task, "mim", torch.zeros(1, 9, 8), torch.zeros(1, 9, 8), codes, mask, ratio)  # type: ignore[arg-type]
    assert ratio.skill == pytest.approx(1 - 2 / 3)  # two of four wrong, where always saying 7 has three wrong


def test_the_spread_is_that_within_items() -> None:
    alike, sums = torch.randn(5, 1, 8).expand(5, 10, 8), [0.0, 0.0]
    _add_spread(sums, alike)
    assert sums[0] == pytest.approx(0, abs=1e-9) and sums[1] > 0
    sums = [0.0, 0.0]
    _add_spread(sums, torch.randn(5, 4000, 8))
    assert (sums[0] / sums[1]) ** 0.5 == pytest.approx(1.0, abs=0.02)
    padded, mask = torch.randn(2, 6, 8), torch.tensor([[1, 1, 1, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    one, other = [0.0, 0.0], [0.0, 0.0]
    _add_spread(one, padded, mask)
    _add_spread(other, padded.masked_fill(mask[..., None] == 0, 100.0), mask)
    assert one == pytest.approx(other)


def test_a_measurement_has_what_the_spec_asks_for_and_changes_nothing(words: Tokenizer) -> None:
    task, pairs = task_of(words).train(), pairs_of(words)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = torch.get_rng_state()
    measured = measure_pairs(task, pairs) | gradient_shares(task, next(pairs.parts()))
    assert torch.equal(state, torch.get_rng_state()) and task.training
    assert all(torch.equal(before[name], value) for name, value in task.state_dict().items())
    assert all(p.grad is None for p in task.parameters())
    assert {"mim_skill", "mrm_image_r2", "mrm_text_within_r2", "mlm_partner", "teacher_tr_r1"} <= set(
        measured
    )
    assert max(value for name, value in measured.items() if name.startswith("gradient_")) == 1.0
    assert measure_pairs(task, pairs) == {
        name: value for name, value in measured.items() if "gradient" not in name
    }
    alone = task_of(words, mlm=False, mim=None, mrm=None)
    assert set(measure_pairs(alone, pairs)) == {"itc_tr_r1", "itc_ir_r1", "itm_tr_r1", "itm_ir_r1"}
    assert set(gradient_shares(alone, next(pairs.parts()))) == {"gradient_itm"}


def test_the_right_partner_helps_where_the_prediction_reads_it(words: Tokenizer) -> None:
    """A head that knows the words by their image: with another image it is wrong."""
    task, pairs = task_of(words, mim=None, mrm=None), ValidationPairs(tiny.batch(words), 8)

    def reads(fused_KD: torch.Tensor) -> torch.Tensor:
        return (
            10
            * torch.nn.functional.one_hot(answers, words.vocab_size).float()
            * fused_KD[:, :1].sign().clamp(min=0)
        )

    chosen = task.masks(pairs.batch["ids"], pairs.batch["mask"], 0, 0)[1].chosen
    answers = pairs.batch["ids"][chosen]
    assert task.mlm_head is not None
    task.mlm_head.forward = reads  # type: ignore[method-assign]
    calls = iter((1.0, -1.0))
    fuse = task.network.fuse

    def seen(visual: Any, text: Any, mask: Any) -> Any:
        fused = fuse(visual, text, mask)
        return fused._replace(text=torch.ones_like(fused.text) * next(calls))

    task.network.fuse = seen  # type: ignore[method-assign]
    measured = measure_pairs(task, pairs)
    assert measured["mlm_partner"] > 1 and measured["mlm_partner_z"] > 5


def test_look_alikes_are_images_that_differ_in_little_or_texts_that_share_their_words() -> None:
    image = torch.randn(4, 3, 24, 24)
    ids = torch.tensor([[2, 11, 12, 13, 3], [2, 21, 22, 23, 3], [2, 31, 32, 33, 3], [2, 41, 42, 43, 3]])
    assert not holds_look_alike(image, ids, torch.arange(4))
    twin = image.clone()
    twin[1] = image[0]
    twin[1, :, :6, :6] = 0
    assert holds_look_alike(twin, ids, torch.arange(4))
    assert not holds_look_alike(
        twin, ids, torch.tensor([0, 0, 1, 2])
    )  # the same image twice is no look-alike
    shared = ids.clone()
    shared[1] = torch.tensor([2, 11, 12, 23, 3])
    assert holds_look_alike(image, shared, torch.arange(4))


def test_itm_leaves_its_plateau_where_it_stays_below_it() -> None:
    values = [0.64, 0.5, 0.64, 0.63, 0.62, 0.55, 0.5, 0.4, 0.3]
    assert plateau_left([{"step": 10.0 * i, "itm": value} for i, value in enumerate(values)]) == 40.0
    assert plateau_left([{"step": float(i), "itm": 0.637} for i in range(9)]) is None


GOOD = {
    "mim_skill": 0.2, "mrm_image_within_r2": 0.3, "mrm_text_within_r2": 0.3, "mrm_image_r2": -0.3, "mrm_text_r2": 0.2,
    "mim_target_spread": 0.6, "mlm_partner": 0.1,
    "mlm_partner_z": 5.0, "itc_tr_r1": 50.0, "itc_ir_r1": 50.0, "itm_tr_r1": 60.0, "itm_ir_r1": 60.0, "teacher_tr_r1": 50.0,
    "teacher_ir_r1": 50.0, "teacher_way": 0.95, "gradient_mlm": 1.0, "gradient_mrm": 0.2,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({}, None),
        ({"mim_skill": 0.05}, "mim_skill"),
        ({"mrm_text_within_r2": -0.1}, "mrm_text_within_r2"),
        ({"mim_target_spread": 0.2}, "target spread"),
        ({"mlm_partner_z": 1.0}, "other modality"),
        ({"teacher_tr_r1": 20.0}, "teacher"),
        ({"gradient_mrm": 0.01}, "gradient shares"),
        ({"itm_ir_r1": 40.0}, "re-ranking"),
    ],
)
def test_each_mechanism_warns_by_its_own_name(
    words: Tokenizer, changed: dict[str, float], name: str | None
) -> None:
    health = Health(task_of(words), pairs_of(words), 100)
    last = GOOD | changed
    health.rows = [GOOD | {"step": 0.0}, last | {"step": 50.0}, last | {"step": 100.0}]
    health.batches, health.alike = 100, 60
    curve = [{"step": float(step), "itm": 0.637 if step < 15 else 0.4} for step in range(100)]
    actual: list[Check] = health.findings(curve)
    assert [check.name for check in warned(actual)] == ([] if name is None else [name])
    health.alike = 40
    assert "look-alikes" in [check.name for check in warned(health.findings(curve))]
    late = [row | {"itm": 0.637 if row["step"] < 50 else 0.4} for row in curve]
    assert "itm plateau" in [check.name for check in warned(health.findings(late))]


def test_half_way_is_half_of_the_steps(words: Tokenizer) -> None:
    """Looks are denser at the start; a value that falls from a quarter to half of the run and then stays is not falling."""
    health = Health(task_of(words), pairs_of(words), 100)
    spreads = {0.0: 0.8, 6.0: 0.9, 12.0: 0.9, 25.0: 0.9, 50.0: 0.6, 75.0: 0.6, 100.0: 0.6}
    health.rows = [GOOD | {"step": step, "mim_target_spread": spread} for step, spread in spreads.items()]
    curve = [{"step": float(step), "itm": 0.637 if step < 15 else 0.4} for step in range(100)]
    assert not warned(health.findings(curve))


def test_looks_and_counts_go_on_after_a_resume(words: Tokenizer, tmp_path: Path) -> None:
    task, pairs = task_of(words), pairs_of(words)
    health = Health(task, pairs, 100)
    health.observe(tiny.batch(words))
    with torch.no_grad():
        for parameter in task.online.parameters():
            parameter.add_(0.01)
    task.after_step()
    health.measure(6)
    resumed = Health(task_of(words), pairs, 100)
    resumed.load(health.state())
    resumed.measure(100)
    assert [row["step"] for row in resumed.rows] == [0.0, 6.0, 100.0]
    assert resumed.batches == 1
    assert 0 < health.rows[1]["teacher_way"] < 0.1  # momentum 0.995: hardly anywhere
    assert health.table().splitlines()[0].startswith("step,")
