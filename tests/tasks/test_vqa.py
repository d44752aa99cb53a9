"""Visual question answering: decoder, ranking, loss, training and evaluation."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from torch.nn import functional as F
from vqa_task import ANSWERS, MODEL, SPEC, make_batch, make_task, sharpen

from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.store.writer import Writer
from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.model.decoder import AnswerDecoder, FusedContext, pack
from mamo.model.mamo import Mamo
from mamo.tasks import vqa
from mamo.tasks.evaluating import by_image
from mamo.tasks.vqa import VqaTask
from mamo.tasks.vqa_accuracy import question_scores


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    # A vocabulary so small that most answers are several sub-words.
    texts = ["is the car red", "what is left of the dog", "what colour is it", *ANSWERS]
    return train_wordpiece(texts, 64, tmp_path_factory.mktemp("tokenizer"))


def make_context(task: VqaTask, questions: list[str]) -> FusedContext:
    ids, mask = task.tokenizer.encode(questions, MODEL.max_words)
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(len(questions), 3, 32, 32, generator=generator)
    return task.context(task.network.encode_image(images), ids, mask)


def brute_force(task: VqaTask, context: FusedContext, question: int, answer: str) -> float:
    """One answer read token by token, with nothing packed, padded or shared."""
    ids = task.tokenizer.encode([answer], MODEL.max_words)[0]
    states, bias = context.states[question : question + 1], context.bias[question : question + 1]
    total = 0.0
    for end in range(1, ids.shape[1]):
        x = task.decoder.embedding(ids[:, :end])
        later = torch.full((end, end), -torch.inf).triu(1)
        for layer in task.decoder.layers:
            x = layer(x, later, states, bias)
        logits = F.linear(x[0, -1], task.decoder.embedding.words.weight, task.decoder.bias)
        total += logits.log_softmax(-1)[ids[0, end]].item()
    return total


def test_scores_equal_brute_force_scoring_of_every_candidate(tokenizer: Tokenizer) -> None:
    task = sharpen(make_task(tokenizer))
    assert task.candidate_mask.sum(1).max() >= 4  # several sub-words, or the test shows little
    with torch.no_grad():
        context = make_context(task, ["is the car red", "what", "what is left of the dog"])
        chosen, scores = task.rank(context)
        expected = [[brute_force(task, context, q, answer) for answer in ANSWERS] for q in range(3)]
    assert chosen.tolist() == [list(range(len(ANSWERS)))] * 3
    torch.testing.assert_close(scores, torch.tensor(expected), atol=1e-4, rtol=1e-5)


def test_chunks_of_candidates_and_of_logits_change_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = sharpen(make_task(tokenizer))
    with torch.no_grad():
        context = make_context(task, ["is the car red", "what"])
        whole = task.rank(context)[1]
        monkeypatch.setattr("mamo.model.decoder.CANDIDATES_AT_ONCE", 2)
        monkeypatch.setattr("mamo.model.decoder.LOGIT_ROWS", 3)
        torch.testing.assert_close(task.rank(context)[1], whole, atol=1e-5, rtol=1e-5)


def test_first_sub_word_is_counted_once(tokenizer: Tokenizer) -> None:
    """With a uniform model an answer of T sub-words, [SEP] included, costs T log V."""
    task = make_task(tokenizer)
    with torch.no_grad():
        task.decoder.embedding.words.weight.zero_()
        scores = task.rank(make_context(task, ["what"]))[1][0]
    lengths = task.candidate_mask.sum(1)  # with [SEP]
    torch.testing.assert_close(scores, -lengths * np.log(tokenizer.vocab_size).astype(np.float32).item())


def test_shortlist_is_by_first_sub_word_and_ranked_in_full(tokenizer: Tokenizer) -> None:
    every, short = sharpen(make_task(tokenizer)), sharpen(make_task(tokenizer, shortlist=4))
    with torch.no_grad():
        context = make_context(every, ["is the car red", "what is left of the dog"])
        first = every.decoder.first(context)
        torch.testing.assert_close(first.exp().sum(1), torch.ones(2))
        scores = every.rank(context)[1]
        chosen, short_scores = short.rank(context)
    by_first = first[:, every.candidate_ids[:, 0]]
    for question in range(2):
        order = np.argsort(-by_first[question].numpy(), kind="stable").tolist()
        assert chosen[question].tolist() == order[:4]
    torch.testing.assert_close(short_scores, scores.gather(1, chosen), atol=1e-5, rtol=1e-5)


def test_shared_first_sub_word_keeps_the_order_of_the_list(tokenizer: Tokenizer) -> None:
    answers = ["red cart", "red", "red car", "red dog"]
    task = sharpen(make_task(tokenizer, answers, shortlist=2))
    with torch.no_grad():
        assert task.rank(make_context(task, ["what"]))[0].tolist() == [[0, 1]]


def test_later_sub_words_and_other_answers_change_nothing(tokenizer: Tokenizer) -> None:
    task = sharpen(make_task(tokenizer))
    ids = torch.randint(5, tokenizer.vocab_size, (1, 2, 4), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    changed = ids.clone()
    changed[0, 0, 2] = (ids[0, 0, 2] - 4) % (tokenizer.vocab_size - 5) + 5
    assert changed[0, 0, 2] != ids[0, 0, 2]
    with torch.no_grad():
        context = make_context(task, ["is the car red"])
        before, after = (
            task.decoder.states(pack(some, mask, tokenizer.cls_id), context)[0] for some in (ids, changed)
        )
    same = torch.isclose(before, after, atol=1e-6).all(1).tolist()
    # [CLS], places 1-3 of answer 0, places 1-3 of answer 1: only the changed sub-word itself differs.
    assert same == [True, True, True, False, True, True, True]


def test_question_padding_changes_nothing(tokenizer: Tokenizer) -> None:
    task = sharpen(make_task(tokenizer))
    ids, mask = tokenizer.encode(["is the car red"], MODEL.max_words)
    with torch.no_grad():
        visual = task.network.encode_image(torch.ones(1, 3, 32, 32))
        plain = task.rank(task.context(visual, ids, mask))[1]
        padded = task.rank(task.context(visual, F.pad(ids, (0, 5), value=7), F.pad(mask, (0, 5))))[1]
    torch.testing.assert_close(plain, padded, atol=1e-4, rtol=1e-5)


def test_decoder_starts_from_the_fusion_encoder() -> None:
    network = Mamo(MODEL, 30)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_()
    decoder = AnswerDecoder(network, 3, cls_id=2)
    for number, layer in enumerate(decoder.layers):
        source = network.fusion.layers[number % 2]
        pairs: list[tuple[Any, Any]] = [
            (layer.attention, source.attention),
            (layer.cross_attention, source.attention),
            (layer.norm_attention, source.norm_attention),
            (layer.norm_cross, source.norm_attention),
            (layer.mlp, source.mlp),
            (layer.norm_mlp, source.norm_mlp),
        ]
        for mine, theirs in pairs:
            assert [n for n, _ in mine.named_parameters()] == [n for n, _ in theirs.named_parameters()]
            for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
                assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
    assert torch.equal(decoder.embedding.words.weight, network.text.embedding.words.weight)
    assert decoder.embedding.words.weight.data_ptr() != network.text.embedding.words.weight.data_ptr()


def test_loss_is_the_weighted_sum_over_answers_per_question(tokenizer: Tokenizer) -> None:
    task = sharpen(make_task(tokenizer))
    batch = make_batch(tokenizer, [["yes", "traffic light"], ["dog"]], [[0.7, 0.3], [0.5]])
    with torch.no_grad():
        loss = task(batch)["loss"].item()
        context = task.context(task.network.encode_image(batch["image"]), batch["ids"], batch["mask"])
        yes, light = (brute_force(task, context, 0, answer) for answer in ("yes", "traffic light"))
        dog = brute_force(task, context, 1, "dog")
    assert loss == pytest.approx(-(0.7 * yes + 0.3 * light + 0.5 * dog) / 2, rel=1e-5)


def test_gradients_reach_everything_that_answers(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer).train()
    task(make_batch(tokenizer, [["yes", "red car"], ["dog"]], [[0.7, 0.3], [1.0]]))["loss"].backward()
    without = {name for name, p in task.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert tiny.idle(task) == tiny.declared(task)
    unused = (
        "vision_projection",
        "text_projection",
        "temperature",
        "itm_head",
        "fusion.mask_token",
        "key.bias",
    )
    # A bias of all keys shifts all scores alike, so the softmax takes its gradient away.
    assert not [name for name in without if not any(part in name for part in unused)]


def test_overfits_a_few_questions(tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer, decoder_layers=2)
    batch = make_batch(tokenizer, [["yes"], ["red car"], ["traffic light"]], [[1.0], [1.0], [1.0]])
    optimiser = torch.optim.AdamW(task.parameters(), lr=3e-3)
    for _ in range(60):
        loss = task(batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1.0  # it starts near 16: four sub-words of 64
    with torch.no_grad():
        context = task.context(task.network.encode_image(batch["image"]), batch["ids"], batch["mask"])
        best = task.rank(context)[1].argmax(1)
    assert [ANSWERS[i] for i in best] == ["yes", "red car", "traffic light"]


def test_everything_starts_from_pretrained_weights(tokenizer: Tokenizer) -> None:
    assert list(make_task(tokenizer).newly_initialised()) == []


def test_no_candidates_is_an_error(tokenizer: Tokenizer) -> None:
    network = Mamo(MODEL, tokenizer.vocab_size)
    with pytest.raises(ValueError, match="min_answer_count"):
        VqaTask(network, SPEC, tokenizer, EvalTransform(SPEC.transform), [])


# --- accuracy


def prepare(path: Path, test_answers: bool) -> Prepared:
    """Red and blue images; two questions about each."""
    with Writer(path, dataset="vqa2", kind="vqa", store_size=32) as writer:
        question_id = 0
        for split in ("train", "val", "test"):
            known = split != "test" or test_answers
            for i in range(3):
                out = io.BytesIO()
                Image.new("RGB", (40, 32), (200, 0, 0) if i % 2 else (0, 0, 200)).save(out, "JPEG")
                row = writer.add_image(f"{split}{i}", out.getvalue())
                for question, kind in (("is the car red", "is the"), ("what colour is it", "what colour")):
                    question_id += 1
                    truth = ("yes" if i % 2 else "no") if kind == "is the" else ("red" if i % 2 else "dog")
                    writer.add_record(
                        split,
                        image=row,
                        question_id=question_id,
                        question=question,
                        answers=[truth, "carton"] if known else [],
                        weights=[0.8, 0.2] if known else [],
                        type=kind if known else "",
                    )
    return Prepared(path)


def test_evaluation_on_public_test_answers(tmp_path: Path, tokenizer: Tokenizer) -> None:
    task = sharpen(make_task(tokenizer)).train()
    data = prepare(tmp_path / "vqa2", test_answers=True)
    found = task.test(data)
    assert task.training  # the mode comes back

    stored = list(data.records("test"))
    transform = task.transform_eval
    task.eval()
    predictions = []
    for record in stored:  # one at a time: grouping by image and batches must not matter
        ids, mask = tokenizer.encode([record["question"]])
        with torch.no_grad():
            visual = task.network.encode_image(transform(data.images.jpeg(record["image"]))[None])
            predictions.append(ANSWERS[task.rank(task.context(visual, ids, mask))[1].argmax()])
    scores = question_scores(predictions, stored)
    assert found.items["question_id"] == [record["question_id"] for record in stored] == list(range(13, 19))
    assert found.items["score"] == scores
    assert found.items["type"] == ["is the", "what colour"] * 3
    assert found.metrics["accuracy"] == pytest.approx(np.mean(scores))
    assert found.breakdown["accuracy/is the"] == pytest.approx(np.mean(scores[::2]))
    # Train: "no" and "dog" have 1.6 of the shares, "yes" and "red" 0.8; right for two of three images.
    assert found.metrics["chance/accuracy"] == pytest.approx(200 / 3)
    assert (found.split, found.recorded["evaluated_on_val"]) == ("test", 0.0)
    submission = json.loads(found.files["vqa_submission.json"])
    assert submission == [
        {"question_id": record["question_id"], "answer": answer}
        for record, answer in zip(stored, predictions, strict=True)
    ]


def test_evaluation_falls_back_to_val_and_still_submits_test(tmp_path: Path, tokenizer: Tokenizer) -> None:
    task = make_task(tokenizer)
    data = prepare(tmp_path / "vqa2", test_answers=False)
    found = task.test(data)
    assert (found.split, found.recorded["evaluated_on_val"]) == ("val", 1.0)
    assert found.items["question_id"] == list(range(7, 13))
    assert [entry["question_id"] for entry in json.loads(found.files["vqa_submission.json"])] == list(
        range(13, 19)
    )
    assert task.validate(data) == pytest.approx(found.metrics["accuracy"])


def test_each_question_meets_its_own_image(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network that reads nothing but the mean colour, which differs between the images of a group."""
    task = make_task(tokenizer)
    data = prepare(tmp_path / "vqa2", test_answers=True)
    records = list(data.records("test"))[::-1] + list(data.records("train"))
    red, dog = ANSWERS.index("red"), ANSWERS.index("dog")

    def rank(colour: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        chosen = torch.where(colour[:, 0] > colour[:, 2], red, dog)[:, None]
        return chosen, torch.zeros(chosen.shape)

    monkeypatch.setattr(task.network, "encode_image", lambda image: image.mean((2, 3)))
    monkeypatch.setattr(task, "context", lambda visual, ids, mask: visual)
    monkeypatch.setattr(task, "rank", rank)
    wanted = ["red" if set(record["answers"]) & {"yes", "red"} else "dog" for record in records]
    assert set(wanted) == {"red", "dog"}
    assert task.predict(data, records) == wanted


def test_images_are_grouped_in_order_of_first_appearance() -> None:
    first, second = by_image([7, 3, 7, 5, 3], 2)
    assert (first.images, first.records, first.places.tolist()) == ([7, 3], [0, 2, 1, 4], [0, 0, 1, 1])
    assert (second.images, second.records, second.places.tolist()) == ([5], [3], [0])


def test_validation_is_capped_and_needs_answers(
    tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = make_task(tokenizer)
    data = prepare(tmp_path / "vqa2", test_answers=True)
    asked: list[int] = []
    predict = task.predict

    def counted(data: Prepared, records: list[dict[str, Any]]) -> list[str]:
        asked.append(len(records))
        return predict(data, records)

    monkeypatch.setattr(task, "predict", counted)
    monkeypatch.setattr(vqa, "VALIDATION_QUESTIONS", 3)
    task.validate(data)
    assert asked == [3]
    with Writer(tmp_path / "empty", dataset="vqa2", kind="vqa", store_size=32) as writer:
        writer.add_split("val")
    with pytest.raises(PreparedError, match="'val': there are no questions"):
        task.validate(Prepared(tmp_path / "empty"))


def test_bf16_evaluation_ranks_in_float32(tokenizer: Tokenizer) -> None:
    task = sharpen(make_task(tokenizer))
    with torch.no_grad():
        context = make_context(task, ["is the car red", "what"])
        exact = task.rank(context)[1]
        with torch.autocast("cpu", torch.bfloat16):
            rough = task.rank(context)[1]
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.05 * exact.abs().max()
