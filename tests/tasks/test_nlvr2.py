"""NLVR2: paired attention, the two passes, training and evaluation."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import tiny
import torch
from nlvr2_task import MODEL, SPEC, TEXTS, make_batch, make_task
from PIL import Image
from torch.nn import functional as F

from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.store.writer import Writer
from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.model.mamo import Mamo
from mamo.model.paired_attention import AttentionPool, PairedAttention
from mamo.tasks.nlvr2 import Nlvr2Task


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return train_wordpiece(TEXTS, 60, tmp_path_factory.mktemp("tokenizer"))


def test_attention_pool_by_hand() -> None:
    pool = AttentionPool(2, 0.0)
    with torch.no_grad():
        pool.score.weight.copy_(torch.tensor([[1.0, 0.0]]))
        pool.score.bias.zero_()
    x = torch.tensor([[[1.0, 4.0], [-3.0, 8.0], [50.0, 50.0]]])
    # Scores relu(1) = 1 and relu(-3) = 0; the third token is padding.
    share = torch.tensor([1.0, 0.0]).softmax(0)
    expected = share[0] * x[:, 0] + share[1] * x[:, 1]
    torch.testing.assert_close(pool(x, torch.tensor([[1, 1, 0]])), expected)


def test_each_side_sees_real_tokens_of_both_only() -> None:
    torch.manual_seed(0)
    paired = PairedAttention(16, 4, 0.1).eval()
    left, right = torch.randn(2, 2, 5, 16)
    left_mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    right_mask = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
    logits = paired(left, right, left_mask, right_mask)
    for side, mask in ((left, left_mask), (right, right_mask)):
        noise = side + 10 * torch.randn_like(side) * (mask == 0)[..., None]
        sides = (noise, right) if side is left else (left, noise)
        torch.testing.assert_close(paired(*sides, left_mask, right_mask), logits)
        noise = side + torch.randn_like(side) * (mask == 1)[..., None]
        sides = (noise, right) if side is left else (left, noise)
        assert (paired(*sides, left_mask, right_mask) - logits).abs().min() > 1e-6


def test_mirrored_weights_give_the_mirrored_pair_the_same_logits() -> None:
    """Swapping the sides, their attentions and the classifier's halves is no change at all."""
    torch.manual_seed(0)
    paired, mirror = PairedAttention(16, 4, 0.0), PairedAttention(16, 4, 0.0)
    mirror.load_state_dict(paired.state_dict())
    mirror.left_to_right.load_state_dict(paired.right_to_left.state_dict())
    mirror.right_to_left.load_state_dict(paired.left_to_right.state_dict())
    with torch.no_grad():
        mirror.classify.weight.copy_(paired.classify.weight.roll(16, 1))
    left, right, mask = torch.randn(3, 4, 16), torch.randn(3, 4, 16), torch.ones(3, 4)
    torch.testing.assert_close(mirror(right, left, mask, mask), paired(left, right, mask, mask))
    assert not torch.allclose(paired(right, left, mask, mask), paired(left, right, mask, mask), atol=1e-7)


def test_logits_equal_two_passes_one_pair_at_a_time(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer)
    batch = make_batch(tokenizer, TEXTS)
    network = task.network
    with torch.no_grad():
        left, right = network.encode_image(batch["image"]), network.encode_image(batch["image2"])
        together = task.logits(left, right, batch["ids"], batch["mask"])
        for i, text in enumerate(TEXTS):
            ids, mask = tokenizer.encode([text])  # not padded to its neighbours
            words = network.encode_text(ids, mask)
            sides = [network.fuse(side[i : i + 1], words, mask) for side in (left, right)]
            full = [torch.cat([fused.image, fused.text], 1) for fused in sides]
            seen = torch.ones(1, full[0].shape[1])
            torch.testing.assert_close(
                together[i : i + 1], task.pair(*full, seen, seen), atol=1e-5, rtol=1e-4
            )


def test_padding_changes_nothing(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer)
    batch = make_batch(tokenizer, TEXTS)
    padded = batch | {"ids": F.pad(batch["ids"], (0, 4), value=7), "mask": F.pad(batch["mask"], (0, 4))}
    with torch.no_grad():
        torch.testing.assert_close(task(padded)["loss"], task(batch)["loss"], atol=1e-5, rtol=1e-5)


def test_loss_is_cross_entropy_with_true_as_class_one(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer)
    batch = make_batch(tokenizer, TEXTS[:1])
    with torch.no_grad():
        task.pair.classify.weight.zero_()
        task.pair.classify.bias.copy_(torch.tensor([0.0, 2.0]))
        for label in (0, 1):
            loss = task(batch | {"label": torch.tensor([label])})["loss"].item()
            expected = torch.log(1 + torch.exp(torch.tensor(2.0))) - 2 * label
            assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_gradients_reach_everything_in_use(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer).train()
    with torch.no_grad():
        task.pair.pool.score.bias.fill_(5.0)  # clear of the rectifier's flat side
    task(make_batch(tokenizer, TEXTS))["loss"].backward()
    assert tiny.idle(task) <= tiny.declared(task) <= tiny.idle(task) | {"pair.pool.score.bias"}
    # The softmax takes the gradient of what shifts all scores alike.
    assert not [name for name in tiny.unmoved(task) if "pool.score.bias" not in name]


def test_paired_attention_alone_is_new(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer)
    new = {id(p) for part in task.newly_initialised() for p in part.parameters()}
    assert new == {id(p) for p in task.parameters()} - {id(p) for p in task.network.parameters()}


def test_overfits_a_few_pairs(tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    task = Nlvr2Task(Mamo(MODEL, tokenizer.vocab_size), SPEC, tokenizer, EvalTransform(SPEC.transform)).eval()
    batch = make_batch(tokenizer, TEXTS * 2)
    optimiser = torch.optim.AdamW(task.parameters(), lr=2e-3)
    for _ in range(60):
        loss = task(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1


def prepare(path: Path) -> Prepared:
    """Pairs of photos with two sentences each; labels of train are mostly true."""
    labels = {"train": [1, 1, 0, 1], "dev": [1, 0, 0, 1, 1, 0, 0, 0], "test": [1, 1, 1, 0]}
    with Writer(path, dataset="nlvr2", kind="nlvr2", store_size=32) as writer:
        for split, values in labels.items():
            rows = (0, 0)
            for i, label in enumerate(values):
                if i % 2 == 0:
                    images = []
                    for side in range(2):
                        out = io.BytesIO()
                        Image.new("RGB", (32, 40), (60 * i % 256, 100 * side, 90)).save(out, "JPEG")
                        images.append(writer.add_image(f"{split}-{i}-img{side}", out.getvalue()))
                    rows = (images[0], images[1])
                text, identifier = TEXTS[i % 4], f"{split}-{i}-0-{i % 2}"
                writer.add_record(
                    split, image=rows[0], image2=rows[1], text=text, label=label, identifier=identifier
                )
    return Prepared(path)


def test_evaluation_equals_judging_one_sentence_at_a_time(tmp_path: Path, tokenizer: Tokenizer) -> None:
    data = prepare(tmp_path / "nlvr2")
    task = make_task(tokenizer, seed=3).train()
    evaluation = task.test(data)
    assert task.training
    task.eval()
    expected: dict[str, list[bool]] = {"dev": [], "test": []}
    identifiers = []
    for split, correct in expected.items():
        for record in data.records(split):
            left, right = (
                task.transform_eval(data.images.jpeg(record[name]))[None] for name in ("image", "image2")
            )
            ids, mask = tokenizer.encode([record["text"]])
            with torch.no_grad():
                visual = task.network.encode_image(torch.cat([left, right]))
                judged = int(task.logits(visual[:1], visual[1:], ids, mask).argmax())
            correct.append(judged == record["label"])
            identifiers.append(record["identifier"])
    assert evaluation.items["identifier"] == identifiers
    assert evaluation.items["split"] == ["dev"] * 8 + ["test"] * 4
    assert evaluation.items["correct"] == expected["dev"] + expected["test"]
    assert evaluation.metrics["dev_accuracy"] == pytest.approx(100 * sum(expected["dev"]) / 8)
    assert evaluation.metrics["test_accuracy"] == pytest.approx(100 * sum(expected["test"]) / 4)
    # Train says "true" three times of four: right for 3 of 8 in dev, 3 of 4 in test.
    assert evaluation.metrics["chance/dev_accuracy"] == pytest.approx(37.5)
    assert evaluation.metrics["chance/test_accuracy"] == pytest.approx(75.0)
    assert task.validate(data) == evaluation.metrics["dev_accuracy"]


def test_each_sentence_meets_its_own_photos(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network that judges by the photos' mean colours alone; green tells left from right."""
    task = make_task(tokenizer)
    data = prepare(tmp_path / "nlvr2")

    def logits(
        left: torch.Tensor, right: torch.Tensor, ids: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        assert (left[:, 1] < right[:, 1]).all()
        bright = left[:, 0] > 0
        return torch.stack([~bright, bright], 1).float()

    monkeypatch.setattr(task.network, "encode_image", lambda image: image.mean((2, 3)))
    monkeypatch.setattr(task, "logits", logits)
    records = list(data.records("dev"))
    # Red is 0, 120, 240 and 104 in the four pairs of dev; the mean that is taken off is 123.
    assert task.predict(data, records) == [0, 0, 0, 0, 1, 1, 0, 0]
    assert task.predict(data, records[::-1]) == [0, 0, 1, 1, 0, 0, 0, 0]


def test_empty_split_is_an_error(tmp_path: Path, tokenizer: Tokenizer) -> None:
    with Writer(tmp_path / "nlvr2", dataset="nlvr2", kind="nlvr2", store_size=32) as writer:
        writer.add_split("dev")
    with pytest.raises(PreparedError, match="'dev': there are no sentences"):
        make_task(tokenizer).validate(Prepared(tmp_path / "nlvr2"))
