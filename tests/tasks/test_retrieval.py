"""Retrieval: recall at k, chance, hard negatives, the shortlist and its re-ranking, training and evaluation."""

from __future__ import annotations

import io
import itertools
from typing import Any

import pytest
import tiny
import torch
from PIL import Image
from tiny import model_spec, network

from mamo.data.batches.loader import image_batches
from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.store.writer import Writer
from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.model.mamo import Mamo
from mamo.specs.finetune import RetrievalSpec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.recall import chance_recall, recall, recall_metrics, rerank, shortlist
from mamo.tasks.retrieval import RetrievalTask

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (40, 40, 230), "white": (240, 240, 240)}
SCENES = list(itertools.permutations(COLOURS, 2))  # left half, right half


def captions(left: str, right: str) -> list[str]:
    return [f"{left} beside {right}", f"the left is {left} and the right is {right}", f"{left} then {right}"]


def jpeg(left: str, right: str) -> bytes:
    image = Image.new("RGB", (40, 40), COLOURS[right])
    image.paste(COLOURS[left], (0, 0, 20, 40))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Twelve two-coloured images of three captions each; the image table is not in the order of the records."""
    path = tmp_path_factory.mktemp("captions")
    with Writer(path, dataset="flickr30k", kind="captions", store_size=40) as writer:
        rows = {scene: writer.add_image("-".join(scene), jpeg(*scene)) for scene in reversed(SCENES)}
        for split in ("train", "val", "test"):
            for scene in SCENES:
                for text in captions(*scene):
                    writer.add_record(split, image=rows[scene], text=text)
        writer.add_split("empty")
    prepared = Prepared(path)
    rows_in_order = list(dict.fromkeys(prepared.records("test").column("image").to_pylist()))
    assert rows_in_order != sorted(rows_in_order)
    return prepared


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    texts = [text for scene in SCENES for text in captions(*scene)]
    return train_wordpiece(texts, 80, tmp_path_factory.mktemp("tokenizer"))


def make_spec(**changes: Any) -> RetrievalSpec:
    values: dict[str, Any] = {
        "data": ("flickr30k",),
        "transform": TransformSpec(size=32),
        "optimiser": OptimiserSpec(),
        "schedule": ScheduleSpec(epochs=1),
        "batch_size": 12,
        "eval_batch_size": 5,
        "shortlist": 4,
        "precision": "fp32",
    }
    return RetrievalSpec.model_validate(values | changes)


def make_task(words: Tokenizer, **changes: Any) -> RetrievalTask:
    spec = make_spec(**changes)
    task = RetrievalTask(network(words), spec, words, EvalTransform(spec.transform)).eval()
    with torch.no_grad():  # larger weights, so that an untrained network's judgements differ
        for parameter in task.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return task


def training_batch(data: Prepared, words: Tokenizer, step: int) -> dict[str, Any]:
    records = list(data.records("train"))[step % 3 :: 3]
    rows = [record["image"] for record in records]
    ids, mask = words.encode([record["text"] for record in records], model_spec().max_words)
    (image,) = image_batches(data.images, rows, EvalTransform(TransformSpec(size=32)), len(rows))
    return {"image": image, "ids": ids, "mask": mask, "image_id": torch.tensor(rows), "seed": 0, "step": step}


def test_recall_by_hand_with_five_captions() -> None:
    """Two images, ten captions: the first image's best caption stands second, the second image's seventh."""
    owner = torch.tensor([0] * 5 + [1] * 5)
    similarity = torch.tensor(
        [
            [0.1, 0.8, 0.2, 0.3, 0.7, 0.9, 0.0, 0.05, 0.02, 0.01],
            [0.9, 0.8, 0.7, 0.6, 0.5, 0.1, 0.2, 0.3, 0.4, 0.0],
        ]
    )
    similarity[1, 0:5] += 1.0  # all five of the first image's before its own
    listed = shortlist(similarity, torch.arange(2), owner, 10)
    assert listed.first.tolist() == [2, 6]
    assert listed.candidates[0].tolist() == [5, 1, 4, 3, 2, 0, 7, 8, 9, 6]
    assert [recall(listed.first, k) for k in (1, 5, 10)] == [0.0, 50.0, 100.0]
    # Each caption asks for its image: right where its image's score is the greater one.
    pictures = shortlist(similarity.T, owner, torch.arange(2), 2)
    assert pictures.first.tolist() == [2] * 5 + [2, 1, 1, 1, 2]
    metrics = recall_metrics(listed.first, pictures.first, [5, 5])
    assert (metrics["tr_r1"], metrics["tr_r5"], metrics["ir_r1"], metrics["ir_r5"]) == (
        0.0,
        50.0,
        30.0,
        100.0,
    )
    assert metrics["mean_recall"] == pytest.approx((0 + 50 + 100 + 30 + 100 + 100) / 6)


def test_reranking_by_hand() -> None:
    """Scores order the shortlist; equal scores keep similarity's order; what is not listed stays where it was."""
    similarity = torch.tensor([[0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6], [0.9, 0.8, 0.7, 0.6]])
    right = torch.tensor([1, 3, 2])
    listed = shortlist(similarity, right, torch.arange(4), 3)
    scores = torch.tensor([[0.1, 0.5, 0.3], [5.0, 5.0, 5.0], [2.0, 2.0, 2.0]])
    assert rerank(listed, scores).tolist() == [1, 4, 3]
    scores[0] = torch.tensor([0.1, float("nan"), 0.3])
    assert rerank(listed, scores).tolist() == [3, 4, 3]


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_constant_scorer_reaches_about_chance(value: float) -> None:
    images, per_image = 60, 5
    owner = torch.arange(images).repeat_interleave(per_image)
    similarity = torch.full((images, images * per_image), value)
    texts = shortlist(similarity, torch.arange(images), owner, 16)
    pictures = shortlist(similarity.T, owner, torch.arange(images), 16)
    text_ranks, image_ranks = (
        rerank(listed, torch.full(listed.candidates.shape, value)) for listed in (texts, pictures)
    )
    metrics = recall_metrics(text_ranks, image_ranks, [per_image] * images)
    for k in (1, 5, 10):
        assert metrics[f"ir_r{k}"] == pytest.approx(metrics[f"chance/ir_r{k}"])
        assert metrics[f"tr_r{k}"] <= metrics[f"chance/tr_r{k}"] + 1e-9


def test_chance_equals_simulation() -> None:
    generator = torch.Generator().manual_seed(0)
    counts, candidates = [1, 5, 3], 20
    owner = torch.tensor([0] + [1] * 5 + [2] * 3 + [3] * 11)
    for k in (1, 5, 10):
        hits = 0
        rounds = 4000
        for _ in range(rounds):
            order = owner[torch.randperm(candidates, generator=generator)]
            hits += sum(int((order[:k] == query).any()) for query in range(3))
        assert chance_recall(counts, candidates, k) == pytest.approx(100 * hits / (3 * rounds), abs=1.5)
    assert chance_recall([1], 500, 5) == pytest.approx(1.0)
    assert chance_recall([2], 5, 10) == 100.0


def test_a_query_without_a_right_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="no right candidate"):
        shortlist(torch.rand(2, 3), torch.tensor([0, 7]), torch.tensor([0, 1, 2]), 2)


def test_matching_logits_equal_the_whole_fusion(words: Tokenizer) -> None:
    net = make_task(words).network
    ids, mask = words.encode(["red beside blue", "the left is red and the right is white"], 16)
    visual, text = net.encode_image(torch.randn(2, 3, 32, 32)), net.encode_text(ids, mask)
    expected = net.itm_logits(net.fuse(visual, text, mask))
    torch.testing.assert_close(net.matching_logits(visual, text, mask), expected)
    assert (expected[0] - expected[1]).abs().max() > 1e-3


def test_hard_negatives_show_other_images(
    data: Prepared, words: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pairs of four images only, each three times: the wrong image and the wrong text never belong to the pair's image."""
    seen: list[tuple[torch.Tensor, ...]] = []
    judge = Mamo.matching_logits

    def record(net: Mamo, visual: torch.Tensor, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        seen.append((visual.detach(), text.detach()))
        return judge(net, visual, text, mask)

    monkeypatch.setattr(Mamo, "matching_logits", record)
    task = make_task(words)
    batch = training_batch(data, words, 0)
    image_id = torch.arange(4).repeat(3)
    for step in range(20):
        task(batch | {"image_id": image_id, "step": step})
        visual, text = seen[-1]
        assert len(visual) == 36
        for part, value in ((visual[24:], visual[:12]), (text[12:24], text[:12])):
            drawn = torch.cdist(part.flatten(1), value.flatten(1)).argmin(1)
            assert (image_id[drawn] != image_id).all()
            assert torch.equal(part, value[drawn])
    assert torch.equal(seen[-1][0][12:24], seen[-1][0][:12])
    with pytest.raises(ValueError, match="one image only"):
        task(batch | {"image_id": torch.zeros(12)})


def test_training_reaches_every_part(data: Prepared, words: Tokenizer) -> None:
    task = make_task(words).train()
    parts = task(training_batch(data, words, 0))
    torch.testing.assert_close(parts["loss"], parts["itc"] + parts["itm"])
    assert not parts["itm_accuracy"].requires_grad
    parts["loss"].backward()
    # Only the mask token is of no use here: no patch is removed.
    idle = {name for name, p in task.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert tiny.idle(task) == tiny.declared(task)
    keys = {name for name in idle if name.endswith("attention.key.bias")}  # a softmax does not feel them
    assert idle - keys == {"network.fusion.mask_token"}


def test_evaluation_equals_brute_force(data: Prepared, words: Tokenizer) -> None:
    """Every pair through ``fuse`` alone, one by one, and the ranks counted from the definition."""
    task = make_task(words)
    net = task.network
    evaluation = task.test(data)
    records = list(data.records("test"))
    transform = EvalTransform(TransformSpec(size=32))
    rows = list(dict.fromkeys(record["image"] for record in records))
    owner = [rows.index(record["image"]) for record in records]
    with torch.no_grad():
        visual = [net.encode_image(transform(data.images.jpeg(row))[None]) for row in rows]
        texts = [words.encode([record["text"]], 16) for record in records]
        encoded = [(net.encode_text(*text), text[1]) for text in texts]
        itc = torch.tensor(
            [[(net.project_image(v) @ net.project_text(t).T).item() for t, _ in encoded] for v in visual]
        )
        itm = torch.tensor(
            [[net.itm_logits(net.fuse(v, t, m)).softmax(1)[0, 1].item() for t, m in encoded] for v in visual]
        )

    def rank(itc_row: torch.Tensor, itm_row: torch.Tensor, right: list[bool]) -> int:
        order = sorted(range(len(right)), key=lambda c: -itc_row[c].item())
        order = sorted(order[:4], key=lambda c: -itm_row[c].item()) + order[4:]
        return 1 + [right[c] for c in order].index(True)

    expected = [rank(itc[i], itm[i], [o == i for o in owner]) for i in range(len(rows))]
    expected += [
        rank(itc[:, j], itm[:, j], [i == owner[j] for i in range(len(rows))]) for j in range(len(records))
    ]
    assert evaluation.items["rank"] == expected
    assert evaluation.items["direction"] == ["tr"] * 12 + ["ir"] * 36
    assert evaluation.items["index"] == [*range(12), *range(36)]
    assert evaluation.metrics["ir_r5"] == pytest.approx(100 * sum(r <= 5 for r in expected[12:]) / 36)
    assert evaluation.metrics["chance/ir_r5"] == pytest.approx(100 * 5 / 12)
    similarity_alone = [1 + int((itc[:, j] > itc[owner[j], j]).sum()) for j in range(36)]
    assert expected[12:] != similarity_alone  # or the case would not show any re-ranking


def test_batch_size_and_oversized_shortlist_change_nothing(data: Prepared, words: Tokenizer) -> None:
    ranks = [make_task(words, eval_batch_size=n, shortlist=999).test(data).items["rank"] for n in (3, 64)]
    assert ranks[0] == ranks[1]


def test_training_raises_recall_over_chance(data: Prepared, words: Tokenizer) -> None:
    torch.manual_seed(0)
    task = make_task(words, precision="bf16").train()
    before = task.validate(data)
    assert task.training  # validation gives the mode back
    optimiser = torch.optim.AdamW(task.parameters(), 2e-3)
    for step in range(60):
        parts = task(training_batch(data, words, step))
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
        task.after_step()
    metrics = task.test(data).metrics
    assert metrics["mean_recall"] > max(before, metrics["chance/mean_recall"]) + 15
    assert set(metrics) == {
        prefix + name
        for prefix in ("", "itc_", "chance/")
        for name in ("tr_r1", "tr_r5", "tr_r10", "ir_r1", "ir_r5", "ir_r10", "mean_recall")
    }


def test_an_empty_split_is_named(data: Prepared, words: Tokenizer) -> None:
    with pytest.raises(PreparedError, match="'empty'.*prepare"):
        make_task(words).evaluate(data, "empty")
