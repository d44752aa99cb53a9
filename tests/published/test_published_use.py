"""Using a trained model: embeddings, ranking, heat maps, tasks; what is refused, and how it is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from trained import answering, judging, noise, photo, pretraining

import mamo
from mamo.data.store.images import ImageError
from mamo.explain.attention_gradcam import AttentionGradCam
from mamo.explain.scores import itm_score
from mamo.published.pictures import opened
from mamo.published.pretrained import Pretrained, TaskError
from mamo.specs.plan import Plan, make_plan
from mamo.tasks.boxes import choose_box

ABLATIONS = Path(__file__).parents[2] / "ablations"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS)


@pytest.fixture(scope="module")
def results(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "results/smoke"


@pytest.fixture(scope="module")
def model(plan: Plan, results: Path) -> Pretrained:
    run, task = pretraining(plan, results)
    with torch.no_grad():  # larger weights, so that the scores of an untrained network differ clearly
        for parameter in task.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    loaded = mamo.load(run.directory(results))
    loaded.network.load_state_dict(task.network.state_dict())
    return loaded


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return noise(tmp_path_factory.mktemp("images"), 5)


def test_embeddings_of_anything_that_is_an_image(model: Pretrained, images: list[Path]) -> None:
    every = model.embed_images(images)
    assert every.shape == (5, 16)
    torch.testing.assert_close(every.norm(dim=1), torch.ones(5))
    picture = Image.open(images[1])
    array = np.array(picture)
    forms: list[Any] = [str(images[1]), images[1], picture, array, array / 255, torch.from_numpy(array)]
    forms += [torch.from_numpy(array).permute(2, 0, 1), [images[1]], array[None], (p for p in images[1:2])]
    for form in forms:
        torch.testing.assert_close(model.embed_images(form), every[1:2], atol=1e-5, rtol=1e-5)
    as_array = model.embed_images(images, numpy=True)
    assert isinstance(as_array, np.ndarray)
    np.testing.assert_array_equal(as_array, every.numpy())
    texts = model.embed_texts(tiny.TEXTS[:3])
    torch.testing.assert_close(model.embed_texts(tiny.TEXTS[1])[0], texts[1], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model.similarity(images, tiny.TEXTS[:3]), every @ texts.T)


def test_a_generator_is_read_no_further_than_the_batch_that_goes_through_the_network(
    model: Pretrained, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    sizes: list[tuple[int, int]] = []
    encode = model.network.encode_image

    def counted(pixels: torch.Tensor, *more: Any) -> torch.Tensor:
        sizes.append((len(pixels), len(given)))
        return encode(pixels, *more)

    def one_by_one() -> Iterator[Path]:
        for i, path in enumerate(images):
            given.append(i)
            yield path

    whole = model.embed_images(images)
    monkeypatch.setattr(model.network, "encode_image", counted)
    parts = model.embed_images(one_by_one(), batch_size=2)
    assert sizes == [(2, 2), (2, 4), (1, 5)]
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="batch_size 0"):
        model.embed_images(images, batch_size=0)


def test_nothing_gives_empty_results(model: Pretrained, images: list[Path]) -> None:
    assert model.embed_images([]).shape == (0, 16) and model.embed_texts([]).shape == (0, 16)
    assert model.embed_images([], numpy=True).shape == (0, 16)
    assert model.similarity([], ["a dog"]).shape == (0, 1) and model.match([], []).shape == (0,)
    assert model.encode_images([]).shape == (0, 17, 32) and model.encode_texts([])[0].shape[0] == 0
    assert model.rank([], ["a dog"]).order.shape == (0, 1)
    assert model.rank(images, []).order.shape == (5, 0)
    assert model.ground(images[0], "a dog", []).index == -1


@pytest.mark.parametrize("ask", ["image", "text"])
def test_a_ranking_is_itms_order_of_itcs_shortlist(model: Pretrained, images: list[Path], ask: Any) -> None:
    texts = tiny.TEXTS[:4]
    cosine = model.similarity(images, texts)
    every = torch.stack([model.match([image] * len(texts), texts) for image in images])
    if ask == "text":
        cosine, every = cosine.T, every.T
    for shortlist in (2, 100):
        ranking = model.rank(images, texts, ask=ask, shortlist=shortlist, batch_size=3)
        kept = min(shortlist, cosine.shape[1])
        assert ranking.order.shape == (len(cosine), kept)
        for query in range(len(cosine)):
            listed = cosine[query].argsort(descending=True)[:kept]
            expected = listed[every[query, listed].argsort(descending=True, stable=True)]
            assert ranking.order[query].tolist() == expected.tolist()
            torch.testing.assert_close(ranking.scores[query], every[query, expected], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(ranking.similarity[query], cosine[query, expected])
    alone = cosine.argsort(dim=1, descending=True)
    assert ranking.order.tolist() != alone.tolist(), "ITM changes ITC's order, or the test shows little"


def test_a_words_map_is_that_of_grad_cam(model: Pretrained, images: list[Path], tmp_path: Path) -> None:
    text = "a small red cat to the left of a blue bus"
    explanation = model.explain(images[0], text)
    assert explanation.words == text.split() and explanation.layer == 1
    assert (
        explanation.image.size == (56, 40)
        and explanation.maps.shape == (11, 40, 56)
        and explanation.maps.min() >= 0
    )
    ids, mask = model.tokenizer.encode([text], 16)
    with torch.no_grad():
        visual = model.network.encode_image(model.transform.image(opened(images[0]))[None])
        written = model.network.encode_text(ids, mask)
    theirs = AttentionGradCam(model.network, 1)(visual, written, mask, itm_score(model.network))
    for (_, places), mine in zip(model.tokenizer.words(text, 16), explanation.patches, strict=True):
        expected = theirs.words_on_patches[0][places].mean(0)
        torch.testing.assert_close(torch.from_numpy(mine), expected, atol=1e-6, rtol=1e-4)
    assert explanation.patches.max() > 0
    assert explanation.score == pytest.approx(float(model.match(images[0], text)[0]), abs=1e-5)
    np.testing.assert_allclose(explanation["a"], explanation.maps[[0, 8]].mean(0))
    with pytest.raises(KeyError, match="'dog' is not a word of"):
        explanation["dog"]
    for name in ("where.png", "where.svg"):
        explanation.save(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1000
    assert explanation.picture().size[0] > 500
    with pytest.raises(ValueError, match="must be .png, .svg or .pdf"):
        explanation.save(tmp_path / "where.jpeg")


def test_a_large_photo_does_not_make_large_maps(model: Pretrained) -> None:
    explanation = model.explain(Image.new("RGB", (3000, 1500), "teal"), "a dog")
    assert explanation.image.size == (512, 256) and explanation.maps.shape == (2, 256, 512)


def test_layers_without_heat_are_refused(model: Pretrained, images: list[Path]) -> None:
    with pytest.raises(ValueError, match="layer 2 is the last fusion layer"):
        model.explain(images[0], "a dog", layer=2)
    with pytest.raises(ValueError, match="layers 1 to 2"):
        model.explain(images[0], "a dog", layer=9)


def test_boxes_are_pixels(model: Pretrained, images: list[Path]) -> None:
    boxes = [[0, 0, 28, 20], [28, 0, 56, 20], [0, 20, 28, 40], [28.0, 20, 56, 40]]
    grounding = model.ground(images[0], "a small red cat", boxes)
    shares = torch.tensor(boxes) / torch.tensor([56.0, 40, 56, 40])
    expected = choose_box(
        torch.from_numpy(grounding.heat)[None], shares[None], torch.ones(1, 4, dtype=torch.bool), 32, 0.5
    )
    assert grounding.index == int(expected[0]) >= 0 and grounding.box == tuple(
        map(float, boxes[grounding.index])
    )
    with pytest.raises(ValueError, match="box 0 has 3 numbers"):
        model.ground(images[0], "a dog", [[0, 0, 1]])


def test_statements_are_judged(plan: Plan, results: Path, images: list[Path]) -> None:
    judge = mamo.load(judging(plan, results).directory(results))
    actual = judge.judge(images[:3], images[2:], ["two green apples", "a dog", "a lamp"], batch_size=2)
    assert actual.shape == (3,) and ((actual > 0) & (actual < 1)).all()
    torch.testing.assert_close(judge.judge(images[1], images[3], "a dog"), actual[1:2], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="3 images on the left and 2 on the right"):
        judge.judge(images[:3], images[:2], ["a", "b", "c"])
    with pytest.raises(TaskError, match="use .judge"):
        judge.rank(images, ["a dog"])
    with pytest.raises(TaskError, match="reads two images"):
        judge.explain(images[0], "a dog")


def test_an_answer_is_explained(plan: Plan, results: Path, images: list[Path]) -> None:
    model = mamo.load(answering(plan, results).directory(results))
    explanation = model.explain(images[0], "what is on the grass")
    assert explanation.answer == model.answer(images[0], "what is on the grass")[0]
    assert explanation.layer == 2 and explanation.patches.max() > 0 and 0 < explanation.score <= 1
    assert model.answer([], []) == []
    assert "fine-tuned for visual question answering" in repr(model)
    assert "accuracy 41.2" in repr(model)


def test_what_a_model_is_not_for_is_said(model: Pretrained, images: list[Path]) -> None:
    with pytest.raises(TaskError, match=r"was not fine-tuned for VQA.*use .similarity"):
        model.answer(images[0], "what is it")
    with pytest.raises(TaskError, match="was not fine-tuned for NLVR2"):
        model.judge(images[0], images[1], "a dog")
    without = Pretrained(model.network, model.tokenizer, model.config | {"aligned": False}, None)
    for call in (lambda: without.embed_images(images), lambda: without.explain(images[0], "a dog")):
        with pytest.raises(TaskError, match="trained last without ITC and ITM"):
            call()


def bad(folder: Path) -> list[tuple[Any, str]]:
    """Things that are not images, and the message."""
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("no picture at all")
    cut = photo(folder, "cut.jpg", 200).read_bytes()
    (folder / "cut.jpg").write_bytes(cut[: len(cut) // 2])
    return [
        (folder / "none.jpg", "none.jpg: no such file"),
        (str(folder), f"{folder}: Is a directory"),
        (folder / "empty.jpg", "empty.jpg: the file is empty"),
        (folder / "text.jpg", "text.jpg: is not an image in a known format"),
        (folder / "cut.jpg", "cut.jpg: OSError"),
        ("http://example.org/a.jpg", "is not a file; download it"),
        (7, "a int is not an image"),
        ([7], "a int is not an image"),
        (b"bytes", "a bytes is not an image"),
        (np.zeros((4, 4, 5), np.uint8), r"shape \(4, 4, 5\) is not an image"),
        (np.zeros((4, 4, 3), np.int64), "an array of int64 is not an image"),
        (np.full((4, 4, 3), 255.0), "floats .* if its values are from 0 to 1"),
    ]


def test_an_image_that_cannot_be_read_is_named_with_the_reason(model: Pretrained, tmp_path: Path) -> None:
    for given, message in bad(tmp_path):
        with pytest.raises(ImageError, match=message):
            model.embed_images(given)
    with pytest.raises(ValueError, match="text 1 is a int, not a str"):
        model.embed_texts(["a dog", 7])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="a NoneType is not a text"):
        model.embed_texts(None)  # type: ignore[arg-type]


def test_a_model_says_what_it_is_and_what_it_saw(model: Pretrained) -> None:
    said = repr(model)
    assert said.startswith("MAMO, pre-trained: mamo-") and "scale smoke" in said
    assert "images of 32 px in patches of 8" in said and "coco" in said
    assert "no scores" in said
