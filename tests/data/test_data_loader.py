"""Batches are a function of (seed, step): whatever the workers, the ranks and the point of resumption."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mamo.data.batches.collate import CaptionCollate, Nlvr2Collate, VqaCollate
from mamo.data.batches.loader import TrainLoader, image_batches
from mamo.data.batches.transforms import EvalTransform, TrainTransform
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import Prepared
from mamo.data.store.writer import Writer
from mamo.data.tokenizer import Tokenizer, train_wordpiece
from mamo.runs.faults import describe_fault
from mamo.specs.transforms import TransformSpec

SPEC = TransformSpec(size=16)


def photo(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 28, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def captions(path: Path, images: int, kind: Any = "captions", first: int = 0) -> Prepared:
    with Writer(path, dataset=path.name, kind=kind, store_size=24) as writer:
        for i in range(images):
            writer.add_image(f"{first + i}", photo(first + i))
            more = {"ref_id": i, "box": [0, 0, 1, 1], "proposals": []} if kind == "refs" else {}
            for c in range(2):
                writer.add_record("train", image=i, text=f"photo {first + i} caption {c}", **more)
    return Prepared(path)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    words = "photo caption left 0 1 2 3 4 5 6 7 8 9 100 101 102 103"
    return train_wordpiece([words], 60, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> ConcatRecords:
    root = tmp_path_factory.mktemp("sets")
    return ConcatRecords([captions(root / "a", 5), captions(root / "b", 4, "refs", first=100)])


def loader(source: ConcatRecords, tokenizer: Tokenizer, **options: Any) -> TrainLoader:
    collate = CaptionCollate(TrainTransform(SPEC), tokenizer)
    return TrainLoader(source, collate, **{"batch_size": 4, "seed": 7, "end": 10, **options})


def assert_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.equal(value, two[key]) if isinstance(value, torch.Tensor) else value == two[key]


def test_a_batch_of_captions(source: ConcatRecords, tokenizer: Tokenizer) -> None:
    batches = list(loader(source, tokenizer, end=9))
    assert len(batches) == 9
    first = batches[0]
    assert first["image"].shape == (4, 3, 16, 16) and first["image"].dtype == torch.float32
    assert first["ids"].shape == first["mask"].shape and len(first["ids"]) == 4
    assert [tokenizer.decode(ids) for ids in first["ids"]] == first["text"]
    # 36 samples of 18 records: two epochs, every caption twice; image ids tell images of both sets apart.
    texts = [text for batch in batches for text in batch["text"]]
    assert sorted(texts[:18]) == sorted(texts[18:]) and len(set(texts)) == 18
    ids = {int(i): text.split()[1] for b in batches for i, text in zip(b["image_id"], b["text"], strict=True)}
    assert ids == {i: str(i) for i in range(5)} | {5 + i: str(100 + i) for i in range(4)}


def test_workers_change_nothing(source: ConcatRecords, tokenizer: Tokenizer) -> None:
    alone = list(loader(source, tokenizer))
    for one, two in zip(alone, loader(source, tokenizer, workers=2), strict=True):
        assert_equal(one, two)


def test_resuming_changes_nothing_and_leaves_the_global_generator_alone(
    source: ConcatRecords, tokenizer: Tokenizer
) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    whole = list(loader(source, tokenizer))
    rest = list(loader(source, tokenizer, start=6))
    assert torch.equal(before, torch.get_rng_state())
    assert len(rest) == 4
    for one, two in zip(whole[6:], rest, strict=True):
        assert_equal(one, two)
    assert list(loader(source, tokenizer, start=10)) == []


def test_ranks_together_are_the_single_process(source: ConcatRecords, tokenizer: Tokenizer) -> None:
    whole = list(loader(source, tokenizer))
    ranks = [list(loader(source, tokenizer, rank=rank, world=2)) for rank in (0, 1)]
    for step, batch in enumerate(whole):
        assert torch.equal(batch["image"], torch.cat([ranks[0][step]["image"], ranks[1][step]["image"]]))
        assert batch["text"] == ranks[0][step]["text"] + ranks[1][step]["text"]
    with pytest.raises(ValueError, match="not a multiple of 3"):
        loader(source, tokenizer, world=3)


def test_another_seed_or_epoch_augments_anew(source: ConcatRecords, tokenizer: Tokenizer) -> None:
    def views(seed: int) -> dict[str, list[torch.Tensor]]:
        actual: dict[str, list[torch.Tensor]] = {}
        for batch in loader(source, tokenizer, seed=seed, end=9):
            for text, image in zip(batch["text"], batch["image"], strict=True):
                actual.setdefault(text, []).append(image)
        return actual

    one, two = views(1), views(2)
    for text in one:
        assert not torch.equal(one[text][0], one[text][1])
        assert not torch.equal(one[text][0], two[text][0])


def test_blocks_stay_together_in_batches(source: ConcatRecords, tokenizer: Tokenizer) -> None:
    for batch in loader(source, tokenizer, block=2, end=4):
        pairs = batch["image_id"].reshape(2, 2)
        assert torch.equal(pairs[:, 0], pairs[:, 1])  # two captions of one image here


def test_vqa_batches_weigh_answers_by_data_set(tmp_path: Path, tokenizer: Tokenizer) -> None:
    sets = []
    for name, weights in (("vqa2", [0.7, 0.3]), ("visual_genome_qa", [1.0])):
        with Writer(tmp_path / name, dataset=name, kind="vqa", store_size=24) as writer:
            writer.add_image("x", photo(1))
            answers = ["yes", "no"][: len(weights)]
            fields = {
                "question": "photo 1",
                "answers": answers,
                "weights": weights,
                "type": "t",
                "question_id": 1,
            }
            writer.add_record("train", image=0, **fields)
        sets.append(Prepared(tmp_path / name))
    joined = ConcatRecords(sets, weights=[1.0, 0.5])
    collate = VqaCollate(TrainTransform(SPEC), tokenizer)
    (batch,) = TrainLoader(joined, collate, batch_size=2, seed=0, end=1)
    actual = dict(zip(map(tuple, batch["answers"]), batch["weights"], strict=True))
    assert actual[("yes", "no")] == pytest.approx([0.7, 0.3]) and actual[("yes",)] == pytest.approx([0.5])
    assert batch["image"].shape == (2, 3, 16, 16) and batch["ids"].shape == batch["mask"].shape
    with pytest.raises(ValueError, match="as many weights"):
        ConcatRecords(sets, weights=[1.0])


def test_no_flip_where_only_the_answer_names_a_side(tmp_path: Path, tokenizer: Tokenizer) -> None:
    spec = SPEC.model_copy(update={"flip": 1.0, "crop_scale": None, "randaugment": None})
    with Writer(tmp_path / "q", dataset="q", kind="vqa", store_size=24) as writer:
        writer.add_image("x", photo(1))
        for answer in ("left", "dog"):
            fields = {
                "question": "photo",
                "answers": [answer],
                "weights": [1.0],
                "type": "t",
                "question_id": 1,
            }
            writer.add_record("train", image=0, **fields)
    collate = VqaCollate(TrainTransform(spec), tokenizer)
    (batch,) = TrainLoader(ConcatRecords([Prepared(tmp_path / "q")]), collate, batch_size=2, seed=0, end=1)
    plain = EvalTransform(spec)(photo(1))
    for answers, image in zip(batch["answers"], batch["image"], strict=True):
        assert torch.equal(image, plain if answers == ["left"] else plain.flip(-1))


def test_nlvr2_batches(tmp_path: Path, tokenizer: Tokenizer) -> None:
    spec = SPEC.model_copy(update={"flip": 0.0, "crop_scale": None, "randaugment": None})
    with Writer(tmp_path / "n", dataset="nlvr2", kind="nlvr2", store_size=24) as writer:
        for i in range(3):
            writer.add_image(str(i), photo(i))
        writer.add_record("train", image=2, image2=1, text="photo", label=1, identifier="a")
    collate = Nlvr2Collate(TrainTransform(spec), tokenizer)
    (batch,) = TrainLoader(ConcatRecords([Prepared(tmp_path / "n")]), collate, batch_size=1, seed=0, end=1)
    assert torch.equal(batch["image"][0], EvalTransform(spec)(photo(2)))
    assert torch.equal(batch["image2"][0], EvalTransform(spec)(photo(1)))
    assert batch["label"].tolist() == [1] and batch["label"].dtype == torch.int64


def test_kinds_do_not_mix(tmp_path: Path, source: ConcatRecords) -> None:
    with Writer(tmp_path / "n", dataset="nlvr2", kind="nlvr2", store_size=24) as writer:
        writer.add_split("train")
    with pytest.raises(ValueError, match="one kind"):
        ConcatRecords([source.datasets[0], Prepared(tmp_path / "n")])
    empty = ConcatRecords([Prepared(tmp_path / "n")])
    with pytest.raises(ValueError, match="no records in nlvr2"):
        TrainLoader(empty, lambda samples: {}, batch_size=1, seed=0, end=1)


@pytest.mark.parametrize("threads", [1, 3])
def test_images_for_evaluation_keep_their_order(source: ConcatRecords, threads: int) -> None:
    images, rows = source.datasets[0].images, [4, 0, 0, 3, 1, 2, 4]
    batches = list(image_batches(images, rows, EvalTransform(SPEC), 3, threads))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    for row, image in zip(rows, torch.cat(batches), strict=True):
        assert torch.equal(image, EvalTransform(SPEC)(images.jpeg(row)))


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(104, "Connection reset by peer")])
def test_a_worker_that_dies_while_its_batch_is_fetched_is_named(
    source: ConcatRecords, tokenizer: Tokenizer, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: object, **__: object) -> Iterator[object]:
        raise error
        yield

    monkeypatch.setattr("mamo.data.batches.loader.DataLoader", dying)
    monkeypatch.setattr("mamo.data.batches.loader.SECONDS_TO_HEAR", 0)
    with pytest.raises(RuntimeError) as died:
        next(iter(loader(source, tokenizer, workers=1)))
    assert "a process that loads data has died" in str(describe_fault(died.value))
    with pytest.raises(type(error)):  # without workers it is the data's own
        next(iter(loader(source, tokenizer, workers=0)))
