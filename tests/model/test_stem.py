"""The convolutional patch embedding: what it sees, what stays as it is, what it costs."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import timm
import tiny
import torch
from torch.utils.flop_counter import FlopCounterMode

from mamo import method
from mamo.cost import parameters
from mamo.cost.flops import Network
from mamo.model.mamo import Mamo
from mamo.model.pretrained import load_vit
from mamo.model.stem import PatchStem, early_layers
from mamo.model.target import make_target, update_target
from mamo.model.teacher import Teacher
from mamo.model.vision import VisionEncoder
from mamo.specs.identity import Run
from mamo.specs.model import STEMS, ModelSpec
from mamo.specs.overrides import SpecError
from mamo.specs.plan import make_plan
from mamo.specs.transforms import TransformSpec
from mamo.tasks.photo_distillation import PhotoDistillationTask

ABLATIONS = Path(__file__).parents[2] / "ablations"
LITE = "tf_efficientnet_lite0"
SPEC = tiny.model_spec(stem=LITE, image_size=96, patch_size=32)


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    torch.manual_seed(0)
    return Teacher(timm.create_model(LITE, pretrained=False))


@pytest.fixture(scope="module")
def encoder(teacher: Teacher) -> VisionEncoder:
    torch.manual_seed(1)
    encoder = VisionEncoder(SPEC).eval()
    assert encoder.stem is not None
    encoder.stem.take(teacher, torch.randn(20, 3, 96, 96))
    return encoder


def test_a_patchs_vector_is_the_teachers_map_of_that_patch_as_an_image(
    encoder: VisionEncoder, teacher: Teacher
) -> None:
    pixels, spec = torch.rand(2, 3, 96, 96), TransformSpec()

    def standardised(mean: tuple[float, ...], std: tuple[float, ...]) -> torch.Tensor:
        return (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]

    assert encoder.stem is not None
    ours = encoder.stem(standardised(spec.mean, spec.std))
    assert ours.shape == (2, 9, 4 * 112)
    theirs = early_layers(teacher)(standardised(teacher.mean, teacher.std)[:, :, 32:64, 64:])
    assert theirs.shape == (2, 112, 2, 2)
    expected = ((theirs.flatten(1) - encoder.stem.mean) / encoder.stem.deviation).clamp(-6, 6)
    torch.testing.assert_close(ours[:, 5], expected, rtol=1e-3, atol=1e-3)


def test_vectors_of_the_sample_are_standardised(teacher: Teacher) -> None:
    sample = torch.randn(30, 3, 64, 64)
    stem = PatchStem(LITE, 32)
    stem.take(teacher, sample)
    vectors = stem(sample).flatten(0, 1)
    assert float(vectors.mean(0).abs().max()) < 0.1 and float((vectors.std(0) - 1).abs().max()) < 0.2
    again = PatchStem(LITE, 32)
    again.load_state_dict(stem.state_dict())
    torch.testing.assert_close(again(sample), stem(sample))


def test_removed_patches_cannot_be_seen(encoder: VisionEncoder) -> None:
    torch.manual_seed(2)
    image = torch.randn(1, 3, 96, 96)
    other = image.clone()
    other[..., 32:] = 7.0  # everything but the first column of patches
    keep = torch.tensor([[0, 3, 6]])
    assert torch.equal(encoder(image, keep), encoder(other, keep))
    assert not torch.allclose(encoder(image), encoder(other)[:, :1])


def test_visible_only_encoding_equals_the_full_one_when_all_is_visible(encoder: VisionEncoder) -> None:
    image, everything = torch.randn(2, 3, 96, 96), torch.arange(9).expand(2, 9)
    torch.testing.assert_close(encoder(image), encoder(image, everything))


def test_the_plain_statement_of_the_method_encodes_the_same(encoder: VisionEncoder) -> None:
    torch.manual_seed(3)
    network = Mamo(SPEC, 50).eval()
    network.vision = encoder
    image, keep = torch.randn(2, 3, 96, 96), torch.tensor([[0, 4, 8], [1, 2, 3]])
    torch.testing.assert_close(method.encode_image(network, image), network.encode_image(image))
    visible = torch.zeros(2, 9, dtype=torch.bool).scatter(1, keep, True)
    torch.testing.assert_close(
        method.encode_image(network, image, visible), network.encode_image(image, keep)
    )


def test_a_stem_is_frozen_shared_and_runs_once_for_the_same_images(encoder: VisionEncoder) -> None:
    target = make_target(encoder)
    assert target.stem is encoder.stem and isinstance(encoder.stem, PatchStem)
    assert not any(p.requires_grad for p in encoder.stem.parameters())
    before = copy.deepcopy(encoder.stem.state_dict())
    encoder.train()
    assert not encoder.stem.layers.training
    update_target(target, encoder, 0.5)
    assert all(torch.equal(before[name], tensor) for name, tensor in encoder.stem.state_dict().items())
    calls: list[int] = []
    with encoder.stem.layers.register_forward_hook(lambda *_: calls.append(1)):
        image = torch.randn(2, 3, 96, 96)
        first = encoder.eval()(image)
        torch.testing.assert_close(target(image), first)
        encoder(image, torch.tensor([[0], [1]]))
        assert len(calls) == 1
        encoder(image.clone())
        assert len(calls) == 2, "another image, as far as the stem knows"


def test_images_that_come_again_are_remembered(encoder: VisionEncoder) -> None:
    assert encoder.stem is not None
    images = torch.randn(3, 3, 96, 96)
    expected, keep = encoder(images), torch.tensor([[0, 4], [1, 2], [3, 8]])
    masked = encoder(images, keep)
    calls: list[int] = []
    encoder.remember(True)
    try:
        with encoder.stem.layers.register_forward_hook(lambda *_: calls.append(1)):
            first = encoder(images.clone())
            assert len(calls) == 3
            again = encoder(images[[2, 0]].clone())
            torch.testing.assert_close(encoder(images.clone(), keep), masked, rtol=1e-4, atol=1e-4)
            assert len(calls) == 3, "in another order and masked"
            encoder(images.flip(-1))
            assert len(calls) == 6, "mirrored"
    finally:
        encoder.remember(False)
    torch.testing.assert_close(first, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(again, expected[[2, 0]], rtol=1e-4, atol=1e-4)


def test_what_is_remembered_is_bounded(encoder: VisionEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    from mamo.model import stem

    assert encoder.stem is not None
    images = torch.randn(4, 3, 96, 96)
    expected = encoder(images)
    monkeypatch.setattr(stem, "MEMORY_BYTES", 2 * 9 * 448 * 4)
    encoder.remember(True)
    try:
        torch.testing.assert_close(encoder(images.clone()), expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(encoder(images.clone()), expected, rtol=1e-4, atol=1e-4)
        assert encoder.stem._seen is not None and len(encoder.stem._seen) == 2
    finally:
        encoder.remember(False)


def test_images_that_change_in_place_are_seen_anew(encoder: VisionEncoder) -> None:
    image = torch.randn(1, 3, 96, 96)
    first = encoder(image)
    image.mul_(-1)
    second = encoder(image)
    assert not torch.allclose(second, first)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(image.clone()), second)


def test_a_stored_encoder_brings_its_stem_along(encoder: VisionEncoder) -> None:
    other = VisionEncoder(SPEC).eval()
    load_vit(other, {name: tensor.clone() for name, tensor in encoder.state_dict().items()})
    image = torch.randn(1, 3, 96, 96)
    torch.testing.assert_close(other(image), encoder(image))


def test_exported_models_without_a_stem_do_not_need_timm() -> None:
    from mamo.published.code import modules

    code = modules()
    assert "mamo_model_vision.py" in code and "mamo_model_stem.py" not in code
    assert not any("import timm" in text for text in code.values())


def test_distillation_trains_what_stands_on_the_stem(teacher: Teacher) -> None:
    torch.manual_seed(4)
    task = PhotoDistillationTask(SPEC, teacher, torch.randn(4, 9, teacher.channels))
    batch = {
        "image": torch.randn(2, 3, 96, 96),
        "map": torch.randn(2, 9, teacher.channels),
        "keep": torch.tensor([[0, 1], [3, 8]]),
    }
    task(batch)["loss"].backward()
    assert task.vision.patch_embedding.weight.grad is not None
    assert task.vision.stem is not None and all(p.grad is None for p in task.vision.stem.parameters())


@pytest.mark.parametrize("architecture", STEMS)
def test_what_a_stem_costs_is_counted(architecture: str) -> None:
    spec = SPEC.model_copy(update={"stem": architecture})
    encoder = VisionEncoder(spec).eval()
    known = STEMS[architecture]
    assert encoder.stem is not None and encoder.stem.channels == 4 * known.channels
    assert sum(p.numel() for p in encoder.stem.parameters()) == known.parameters
    network = Mamo(spec, 50)
    assert sum(p.numel() for p in network.parameters()) == parameters.network(spec, 50)
    image = torch.randn(1, 3, 96, 96)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        encoder(image)
    assert Network(spec, 50).vision() == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_without_a_stem_runs_keep_their_identity() -> None:
    plan = make_plan("demo", ABLATIONS)
    for run in [*plan.by_kind("weights"), *plan.by_kind("pretrain")]:
        if "model" in run.spec:
            plain = {name: value for name, value in run.spec["model"].items() if name != "stem"}
            assert Run(run.kind, run.name, {**run.spec, "model": plain}, run.inputs).digest == run.digest
            other = {**run.spec, "model": {**plain, "stem": LITE}}
            assert Run(run.kind, run.name, other, run.inputs).digest != run.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stem": "tf_efficientnet_lite7"}, "there is no 'tf_efficientnet_lite7'"),
        ({"patch_size": 24}, "set patch_size to a multiple"),
    ],
)
def test_a_stem_that_does_not_exist_or_fit_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelSpec.model_validate(SPEC.model_dump() | change)


def test_a_stem_wants_a_teacher_of_its_own_kind(tmp_path: Path) -> None:
    import shutil

    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    scale = own / "scales" / "mine.yaml"
    text = (
        "extends: flickr8k\ntitle: mine\ncost: some\n"
        "pretrain: {model: {stem: tf_efficientnet_lite1, image_size: 224, patch_size: 32}, transform: {size: 224}}\n"
    )
    scale.write_text(text, encoding="utf-8")
    with pytest.raises(SpecError, match="takes its weights from a teacher"):
        make_plan("mine", own, only=["flickr8k"])
    scale.write_text(text.replace("lite1", "lite0"), encoding="utf-8")
    assert make_plan("mine", own, only=["flickr8k"]).find("weights", "vision").spec["model"]["stem"] == LITE
    other = text.replace("lite1", "lite0").replace("size: 224}}", "size: 224, mean: [0.5, 0.5, 0.5]}}")
    scale.write_text(other, encoding="utf-8")
    with pytest.raises(SpecError, match="mean and deviation that are the default"):
        make_plan("mine", own, only=["flickr8k"])
