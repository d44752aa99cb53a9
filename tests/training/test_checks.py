"""Silent failures made loud: each is provoked, found with its numbers, and none is found in a sound run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch

from mamo.data.tokenizer import Tokenizer
from mamo.files.record import Check, Outcome, Record
from mamo.reporting.provenance import check_lines
from mamo.specs.optimisation import OptimiserSpec
from mamo.specs.pretrain import CollapseSpec
from mamo.tasks import momentum
from mamo.tasks.evaluation_checks import InvalidEvaluation, check_items, check_metrics
from mamo.tasks.pretrain import PretrainTask
from mamo.training.checks import Checks
from mamo.training.findings import check, log_warnings, warned
from mamo.training.loop import LoopConfig, Trained, train

STEPS = 5


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tiny.tokenizer(tmp_path_factory.mktemp("words"))


def task_of(words: Tokenizer, **changes: Any) -> PretrainTask:
    spec = tiny.pretrain_spec(model=tiny.model_spec(dropout=0.1).model_dump(), **changes)
    return PretrainTask(tiny.network(words, dropout=0.1), spec, words)


def trained(task: PretrainTask, words: Tokenizer, steps: int = STEPS, **changes: Any) -> Trained:
    def batches(start: int) -> Iterator[dict[str, Any]]:
        return (tiny.batch(words, step=step) for step in range(start, steps))

    config = LoopConfig(
        total=steps,
        warmup=1,
        optimiser=OptimiserSpec(lr=1e-3),
        precision="fp32",
        **({"collapse": CollapseSpec(min_spread=0.0)} | changes),
    )
    torch.manual_seed(1)
    return train(task, batches, config, torch.device("cpu"))


def only_warning(findings: list[Check], name: str) -> Check:
    """The one check that warns."""
    assert [check.name for check in warned(findings)] == [name]
    return warned(findings)[0]


def test_a_sound_run_passes_all_and_the_checks_change_nothing(
    words: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = task_of(words)
    findings = trained(checked, words)
    state = torch.get_rng_state()
    assert [check.name for check in findings.checks] == [
        "gradients",
        "losses",
        "clipping",
        "target",
        "features",
    ]
    assert not warned(findings.checks), findings.checks
    json.dumps([check.as_json() for check in findings.checks], allow_nan=False)
    for name in ("begin", "end", "observe"):
        monkeypatch.setattr(Checks, name, lambda self, *given: None)
    alone = task_of(words)
    unwatched = trained(alone, words)
    assert unwatched.curve == findings.curve and torch.equal(torch.get_rng_state(), state)
    for (name, a), b in zip(checked.state_dict().items(), alone.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_a_dead_gradient_is_named(words: Tokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    task = task_of(words)
    dead = task.network.fusion.layers[0].mlp.expand
    for parameter in dead.parameters():
        parameter.register_hook(torch.zeros_like)
    findings = trained(task, words).checks
    warning = only_warning(findings, "gradients")
    names = [f"online.network.fusion.layers.0.mlp.expand.{part}" for part in ("weight", "bias")]
    assert warning.numbers["dead"] == names and names[0] in warning.says
    log_warnings("pretrain/mine", findings)
    assert "WARNING: pretrain/mine: gradients: 2 of " in capsys.readouterr().err


def test_a_parameter_that_no_loss_reads_is_dead_unless_the_task_says_so(words: Tokenizer) -> None:
    task = task_of(words)
    task.spare = torch.nn.Linear(3, 3)
    assert only_warning(trained(task, words).checks, "gradients").numbers["dead"] == [
        "spare.weight",
        "spare.bias",
    ]


@pytest.mark.parametrize(
    ("part", "says"),
    [("itc", "itc is missing in 5 of 5 steps"), ("itm", "itm is exactly 0 for 5 steps in a row")],
)
def test_a_loss_that_is_missing_or_stuck_at_zero(
    words: Tokenizer, monkeypatch: pytest.MonkeyPatch, part: str, says: str
) -> None:
    forward = PretrainTask.forward

    def without(self: PretrainTask, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        out = forward(self, batch)
        if part == "itc":
            del out["itc"]
        else:
            out["itm"] = out["itm"] * 0  # what is shown, not what is trained
        return out

    monkeypatch.setattr(PretrainTask, "forward", without)
    assert only_warning(trained(task_of(words), words).checks, "losses").says == says


def test_one_step_without_a_masked_word_is_no_fault() -> None:
    checks = Checks(torch.nn.Linear(1, 1), tiny_expectations(), 30, None)
    for step in range(30):
        checks.observe(step, {"loss": 1.0, "mlm": 0.0 if step % 3 else 1.0})
    assert not [check for check in warned(checks.findings()) if check.name == "losses"]


def tiny_expectations() -> Any:
    from mamo.tasks.expectations import StepExpectations

    return StepExpectations(("loss", "mlm"))


@pytest.mark.parametrize(
    ("update", "says"),
    [
        (lambda target, online, momentum: None, "has not moved"),
        (lambda target, online, momentum: REAL(target, online, 1.0), "has not moved"),
        (lambda target, online, momentum: REAL(target, online, 0.5), "did not follow"),
        (lambda target, online, momentum: REAL(target, online, momentum), None),
    ],
)
def test_a_target_that_does_not_follow(
    words: Tokenizer, monkeypatch: pytest.MonkeyPatch, update: Callable[..., None], says: str | None
) -> None:
    monkeypatch.setattr(momentum, "update_target", update)
    findings = trained(task_of(words), words).checks
    if says is None:
        assert not warned(findings)
    else:
        assert says in only_warning(findings, "target").says


REAL = momentum.update_target


def test_a_momentum_of_nothing_is_a_target_that_follows(words: Tokenizer) -> None:
    findings = trained(task_of(words, target={"momentum": 0.0}), words).checks
    assert not warned(findings)
    (target,) = [check for check in findings if check.name == "target"]
    assert target.numbers["gap"] == 0


def test_features_that_are_the_same_for_all_items(words: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = type(task_of(words).network).encode_image

    def same(self: Any, image: torch.Tensor, keep: torch.Tensor | None = None) -> torch.Tensor:
        features = encode(self, image, keep)
        return features[:1].expand_as(features)

    monkeypatch.setattr(type(task_of(words).network), "encode_image", same)
    warning = only_warning(trained(task_of(words), words).checks, "features")
    assert "image features are the same for all items" in warning.says
    assert warning.numbers["spread"]["image"] < 1e-3 < warning.numbers["spread"]["text"]


def test_a_spread_below_the_threshold_warns_before_the_run_counts_as_diverged(words: Tokenizer) -> None:
    done = trained(task_of(words), words, collapse=CollapseSpec(min_spread=10.0, patience=50))
    assert done.outcome.status == "converged"
    assert "was below 10 in 5 of 5 steps" in only_warning(done.checks, "features").says


def test_weights_that_the_last_update_broke_are_a_divergence(words: Tokenizer) -> None:
    """Its loss was finite, and no step comes after it whose loss would tell."""
    task = task_of(words)
    seen = [0]

    def breaks(gradient: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        return gradient * (float("nan") if seen[0] == STEPS else 1.0)

    task.network.itm_head.bias.register_hook(breaks)
    done = trained(task, words)
    assert done.outcome.status == "diverged" and "after step 4" in done.outcome.reason
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in done.curve)


def test_few_steps_are_looked_at() -> None:
    """Three at the start, the last, and one in some 125 of a long run: what they cost does not count."""
    checks = Checks(torch.nn.Linear(1, 1), tiny_expectations(), 100_000, None)
    looked = [step for step in range(100_000) if checks.looks_at(step)]
    assert looked[:4] == [0, 1, 2, 12_500] and looked[-1] == 99_999 and len(looked) <= 12


def test_every_pre_training_spec_declares_what_its_losses_do_not_read(words: Tokenizer) -> None:
    for objectives in (
        {"mlm": False, "mim": None, "mrm": None},
        {"mlm": False, "mim": None},
        {"mrm": {"image": False}, "mim": None},
        {"mrm": {"text": False}},
        {"mim": {"target": "pixels", "decoder_depth": 1}},
        {"mim": None, "mrm": None, "distillation": {"queue": 16, "alpha": 0.4}},
    ):
        task = task_of(words, objectives={"itm_group": 4} | objectives)
        assert not warned(trained(task, words).checks), objectives
        task(tiny.batch(words))["loss"].backward()
        assert tiny.idle(task) == tiny.declared(task), objectives


def test_an_evaluation_on_fewer_items_is_refused() -> None:
    retrieval = {"direction": ["tr"] * 3 + ["ir"] * 6, "rank": [1] * 9}
    assert check_items(retrieval, {"tr": 3, "ir": 6}) == "3 (tr), 6 (ir)"
    with pytest.raises(InvalidEvaluation, match=r"measured 3 of 4 \(tr\) items"):
        check_items(retrieval, {"tr": 4, "ir": 6})
    with pytest.raises(InvalidEvaluation, match=r"0 of 5 \(testB\)"):
        check_items({"split": ["val"], "correct": [True]}, {"val": 1, "testB": 5})
    with pytest.raises(InvalidEvaluation, match="measured 2 of 3 items"):
        check_items({"question_id": [1, 2], "score": [0.0, 1.0]}, {"": 3})
    with pytest.raises(InvalidEvaluation, match="measured 0 of 3 items"):
        check_items({}, {"": 3})


@pytest.mark.parametrize(
    ("name", "value"),
    [("tr_r1", 100.5), ("accuracy", -0.1), ("chance/ir_r1", float("nan")),
     ("object_words", float("inf"))],
)  # fmt: skip
def test_a_metric_out_of_its_range_is_refused(name: str, value: float) -> None:
    sound = {"tr_r1": 100.0, "accuracy": 0.0, "object_words": 4711.0}
    assert "3 metrics" in check_metrics(sound)
    with pytest.raises(InvalidEvaluation, match=f"{name} is"):
        check_metrics(sound | {name: value})


def test_records_older_than_the_checks_can_be_read(tmp_path: Path) -> None:
    assert check_lines(Record(outcome=Outcome("converged"))) == [
        "checks: none recorded; the run is older than they are"
    ]
    findings = [
        check("target", False, "has not moved"),
        check("losses", True, "there"),
    ]
    assert check_lines(Record(outcome=Outcome("converged"), checks=tuple(findings))) == [
        "check target: WARNING: has not moved",
        "check losses: passed: there",
    ]


def test_a_checkpoint_older_than_the_checks_can_be_resumed(words: Tokenizer) -> None:
    checks = Checks(task_of(words), tiny_expectations(), 5, None)
    checks.load({})
    assert checks.findings() == []
