"""Grounding: boxes, heat inside them, the choice, training and evaluation."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from PIL import Image
from tiny import TEXTS, network, tokenizer

from mamo.data.batches.collate import CaptionCollate
from mamo.data.batches.loader import TrainLoader
from mamo.data.batches.transforms import EvalTransform, TrainTransform
from mamo.data.store.concat import ConcatRecords
from mamo.data.store.records import Prepared
from mamo.data.store.writer import Writer
from mamo.data.tokenizer import Tokenizer
from mamo.explain.attention_gradcam import AttentionGradCam
from mamo.explain.scores import itm_score
from mamo.specs.finetune import GroundingSpec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.transforms import TransformSpec
from mamo.tasks.boxes import box_iou, choose_box, heat_inside
from mamo.tasks.grounding import GroundingTask

TRUTH = [0.0, 0.0, 0.5, 0.5]
PROPOSALS = [[0.5, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 0.6], [0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 0.5]]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Eight noise images of two expressions each; the last one has an empty text, the one before it no proposals."""
    path = tmp_path_factory.mktemp("refs")
    generator = torch.Generator().manual_seed(0)
    with Writer(path, dataset="refcoco_plus", kind="refs", store_size=32) as writer:
        rows = []
        for number in range(8):
            pixels = torch.randint(0, 255, (32, 48, 3), generator=generator, dtype=torch.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels.numpy()).save(buffer, "PNG")
            rows.append(writer.add_image(str(number), buffer.getvalue()))
        for split in ("train", "val", "testA", "testB"):
            for number in range(16):
                text = "" if number == 15 else TEXTS[(number * 3) % 8]
                proposals = [] if number == 14 else PROPOSALS
                writer.add_record(
                    split,
                    image=rows[number % 8],
                    text=text,
                    ref_id=100 + number,
                    box=TRUTH,
                    proposals=proposals,
                )
    return Prepared(path)


def make_task(words: Tokenizer, **changes: Any) -> GroundingTask:
    values: dict[str, Any] = {
        "data": ("refcoco_plus",),
        "transform": TransformSpec(size=32, crop_scale=None, randaugment=None),
        "optimiser": OptimiserSpec(),
        "schedule": ScheduleSpec(epochs=1),
        "batch_size": 8,
        "eval_batch_size": 3,
        "precision": "fp32",
        "layer": 2,
        "tokens": "words",
    }
    spec = GroundingSpec.model_validate(values | changes)
    net = network(words, fusion_layers=3)
    with torch.no_grad():  # larger weights, so that an untrained network's maps differ
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return GroundingTask(net, spec, words, EvalTransform(spec.transform)).eval()


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.0, 0.0, 0.5, 0.5], [0.0, 0.0, 0.5, 0.5], 1.0),
        ([0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5], 1 / 3),  # half of each is shared
        ([0.0, 0.0, 0.4, 0.4], [0.0, 0.0, 0.8, 0.8], 0.25),  # one inside the other
        ([0.0, 0.0, 0.5, 0.5], [0.5, 0.5, 1.0, 1.0], 0.0),  # a common corner
        ([0.0, 0.0, 0.3, 0.3], [0.6, 0.6, 1.0, 1.0], 0.0),
        ([0.2, 0.2, 0.2, 0.2], [0.2, 0.2, 0.2, 0.2], 0.0),  # no area
    ],
)
def test_iou_by_hand(first: list[float], second: list[float], expected: float) -> None:
    iou = box_iou(torch.tensor(first), torch.tensor(second))
    assert iou.item() == pytest.approx(expected, abs=1e-6)
    assert box_iou(torch.tensor(second), torch.tensor(first)) == iou


def test_heat_inside_by_hand() -> None:
    """2 x 2 cells of heat 1, 2, 3, 4: whole cells, halves and a box over the middle."""
    heat = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], dtype=torch.double)
    boxes = torch.tensor(
        [
            [
                [0.0, 0.0, 1.0, 1.0],
                [0.5, 0.0, 1.0, 0.5],
                [0.0, 0.5, 0.25, 1.0],
                [0.25, 0.25, 0.75, 0.75],
                [-1.0, -1.0, 0.5, 2.0],
                [0.3, 0.3, 0.3, 0.9],
            ]
        ]
    ).double()
    expected = torch.tensor([[10.0, 2.0, 1.5, 2.5, 4.0, 0.0]]).double()
    torch.testing.assert_close(heat_inside(heat, boxes), expected)


def test_choice_by_hand() -> None:
    """Most heat in one quarter of the image: that quarter wins at exponent 0.5, the whole image at 0.

    By cells, the first map has 4.96 in the second box, 9.1 over the root of its area, and 7.2 in the whole image.
    """
    heat = torch.full((3, 4, 4), 0.2)
    heat[0, :2, :2] = 1.2
    heat[1, 2:, 2:] = 1.2
    boxes = torch.tensor(PROPOSALS).expand(3, -1, -1)
    present = torch.ones(3, 4, dtype=torch.bool)
    assert choose_box(heat, boxes, present, 32, 0.5).tolist() == [1, 0, 2]
    assert choose_box(heat, boxes, present, 32, 0.0).tolist() == [2, 2, 2]
    # Even heat at exponent 1 is the same everywhere; above it the least box wins.
    assert choose_box(heat, boxes, present, 32, 1.5)[2].item() in (0, 3)
    present[1, 0] = False
    assert choose_box(heat, boxes, present, 32, 0.5)[1].item() == 2


def test_choice_is_that_of_whole_pixels() -> None:
    """At box edges on pixels, the score is the sum of the resampled map's pixels over the root of the area."""
    torch.manual_seed(0)
    heat = torch.rand(5, 4, 4)
    corners = torch.randint(0, 16, (5, 6, 2))
    pixels = torch.cat([corners, corners + torch.randint(1, 16, (5, 6, 2))], -1)
    fine = torch.nn.functional.interpolate(heat[:, None], size=(32, 32), mode="bicubic")[:, 0]
    expected = []
    for sample in range(5):
        scores = []
        for x0, y0, x1, y1 in pixels[sample].tolist():
            scores.append(fine[sample, y0:y1, x0:x1].sum().item() / ((x1 - x0) * (y1 - y0)) ** 0.5)
        expected.append(scores.index(max(scores)))
    present = torch.ones(5, 6, dtype=torch.bool)
    assert choose_box(heat, pixels / 32, present, 32, 0.5).tolist() == expected


def test_without_heat_nothing_is_chosen() -> None:
    boxes, present = torch.tensor([PROPOSALS] * 2), torch.ones(2, 4, dtype=torch.bool)
    heat = torch.zeros(2, 4, 4)
    heat[1, 0, 0] = 1.0
    assert choose_box(heat, boxes, present, 32, 0.5)[0] == -1
    present[1] = False
    assert choose_box(heat, boxes, present, 32, 0.5).tolist() == [-1, -1]


def test_heat_is_the_mean_of_the_maps_of_words_or_of_all_tokens(words: Tokenizer) -> None:
    """From the library's maps: padding never counts; [CLS] and [SEP] do in one reading; no words, no heat in the other."""
    task = make_task(words)
    net = task.network
    ids, mask = words.encode([*TEXTS[:3], ""], 16)
    with torch.no_grad():
        visual, text = net.encode_image(torch.randn(4, 3, 32, 32)), net.encode_text(ids, mask)
    maps = AttentionGradCam(net, 2)(visual, text, mask, itm_score(net)).words_on_patches
    heat = task.heat(visual, ids, mask)
    for sample in range(3):
        count = int(mask[sample].sum())
        close = dict(rtol=1e-4, atol=1e-9)
        torch.testing.assert_close(heat["words"][sample], maps[sample, 1 : count - 1].mean(0), **close)
        torch.testing.assert_close(heat["all"][sample], maps[sample, :count].mean(0), **close)
        assert heat["words"][sample].max() > 0
    assert not heat["words"][3].any() and heat["all"][3].any()
    assert set(heat) == {"all", "words", "layer1"}, "the last of three layers has no maps"
    assert all(parameter.grad is None for parameter in net.parameters())


def test_evaluation_counts_every_expression_once(words: Tokenizer, data: Prepared) -> None:
    task = make_task(words, area_exponent=1.0).train()  # so that the boxes chosen differ
    evaluation = task.test(data)
    assert task.training
    assert evaluation.items["split"] == ["val"] * 16 + ["testA"] * 16 + ["testB"] * 16
    assert evaluation.items["ref_id"] == [100 + number for number in range(16)] * 3
    # Neither the expression without proposals nor the one without words can be right.
    assert evaluation.items["correct"][14:16] == [False, False] and evaluation.items["iou"][14:16] == [
        0.0,
        0.0,
    ]
    right_box = pytest.approx(0.25 / 0.3)
    for correct, iou in zip(evaluation.items["correct"], evaluation.items["iou"], strict=True):
        assert correct == (iou == right_box)
        assert iou in (0.0, 0.25, right_box)
    assert evaluation.metrics["val_accuracy"] == pytest.approx(
        100 * sum(evaluation.items["correct"][:16]) / 16
    )
    # One of four proposals is right, for fifteen expressions of sixteen.
    assert evaluation.metrics["chance/testA_accuracy"] == pytest.approx(100 * 15 / 16 / 4)
    other = make_task(words, area_exponent=1.0, tokens="all").test(data).metrics
    assert evaluation.metrics["val_accuracy_all"] == other["val_accuracy"]
    assert evaluation.metrics["val_accuracy"] == other["val_accuracy_words"]
    lower = make_task(words, area_exponent=1.0, layer=1).test(data)
    assert evaluation.items["correct_layer1"] == lower.items["correct"] != evaluation.items["correct"]
    for split in ("val", "testA", "testB"):
        assert evaluation.metrics[f"{split}_accuracy_layer1"] == lower.metrics[f"{split}_accuracy"]
        assert lower.metrics[f"{split}_accuracy_layer2"] == evaluation.metrics[f"{split}_accuracy"]
        assert (
            evaluation.metrics[f"chance/{split}_accuracy_layer1"]
            == evaluation.metrics[f"chance/{split}_accuracy"]
        )
    one_by_one = make_task(words, area_exponent=1.0, eval_batch_size=1).test(data)
    assert one_by_one.items == evaluation.items
    assert {True, False} == set(evaluation.items["correct"][:14])


def test_choice_follows_the_records_not_the_groups(words: Tokenizer, data: Prepared) -> None:
    """Each record alone gives what it gives among all: images shared by several records are not mixed up."""
    task = make_task(words, area_exponent=1.0)
    records = list(data.records("val"))
    together = task.choose(data, records)["words"]
    assert len(set(together)) > 2
    assert together == [task.choose(data, [record])["words"][0] for record in records]


def test_validation_uses_no_box(
    words: Tokenizer, data: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Reciprocal ranks by hand, and the same where all boxes are others."""
    task = make_task(words)
    records = list(data.records("val"))
    transform = EvalTransform(task.spec.transform)
    with torch.no_grad():
        ids, mask = words.encode([record["text"] for record in records], 16)
        images = torch.stack([transform(data.images.jpeg(row)) for row in range(8)])
        similarity = (
            task.network.project_text(task.network.encode_text(ids, mask))
            @ task.network.project_image(task.network.encode_image(images)).T
        )
    ranks = [
        1 + int((row > row[record["image"]]).sum()) for row, record in zip(similarity, records, strict=True)
    ]
    assert task.validate(data) == pytest.approx(100 * sum(1 / rank for rank in ranks) / 16, rel=1e-5)
    assert len(set(ranks)) > 2
    path = tmp_path_factory.mktemp("moved")
    with Writer(path, dataset="refcoco_plus", kind="refs", store_size=32) as writer:
        for row in range(8):
            writer.add_image(str(row), data.images.jpeg(row))
        for record in records:
            writer.add_record("val", **(record | {"box": [0.9, 0.9, 1.0, 1.0], "proposals": []}))
    assert task.validate(Prepared(path)) == pytest.approx(
        task.validate(data), rel=0.02
    )  # JPEG is encoded again


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_job_from_loader_to_metrics(words: Tokenizer, data: Prepared, precision: str) -> None:
    """Training batches of the real loader reach every part, and evaluation follows at either precision."""
    task = make_task(words, precision=precision).train()
    source = ConcatRecords([data])
    collate = CaptionCollate(TrainTransform(task.spec.transform), words, 16)
    optimiser = torch.optim.AdamW(task.parameters(), 1e-3)
    for step, batch in enumerate(TrainLoader(source, collate, batch_size=8, seed=0, end=3)):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            parts = task(batch | {"seed": 0, "step": step})
        optimiser.zero_grad()
        parts["loss"].backward()
        optimiser.step()
    idle = {name for name, p in task.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert {name for name in idle if not name.endswith("attention.key.bias")} == {"network.fusion.mask_token"}
    metrics = task.test(data).metrics
    names = [
        f"{split}_accuracy{reading}"
        for split in ("val", "testA", "testB")
        for reading in ("", "_all", "_layer1")
    ]
    assert set(metrics) == {prefix + name for name in names for prefix in ("", "chance/")}
    assert all(0 <= value <= 100 for value in metrics.values())


def test_layers_that_cannot_show_anything_are_refused(words: Tokenizer) -> None:
    with pytest.raises(ValueError, match="layer 3 is the last fusion layer.*1 to 2"):
        make_task(words, layer=3)
    with pytest.raises(ValueError, match="layer 4: the fusion encoder has layers 1 to 3"):
        make_task(words, layer=4)
