"""Image transforms: determinism, flips, crops, RandAugment's operations."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from mamo.data.batches.transforms import (
    OPERATIONS,
    EvalTransform,
    TrainTransform,
    names_a_side,
    randaugment,
    random_box,
)
from mamo.specs.transforms import RandAugmentSpec, TransformSpec

PLAIN = TransformSpec(size=32, crop_scale=None, flip=0, randaugment=None)


def jpeg(width: int = 96, height: int = 80) -> bytes:
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(255, 0, height)[:, None].repeat(width, 1)
    out = io.BytesIO()
    Image.fromarray(np.stack([x, y, x], axis=-1).astype(np.uint8)).save(out, "JPEG", quality=95)
    return out.getvalue()


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def test_evaluation_is_resize_and_normalisation() -> None:
    data = jpeg()
    actual = EvalTransform(PLAIN.model_copy(update={"size": 48}))(data)
    pixels = np.asarray(Image.open(io.BytesIO(data)).resize((48, 48), Image.Resampling.BICUBIC)) / 255
    expected = (pixels - np.array(PLAIN.mean)) / np.array(PLAIN.std)
    assert actual.shape == (3, 48, 48) and actual.dtype == torch.float32
    assert np.abs(actual.numpy() - expected.transpose(2, 0, 1)).max() < 1e-5


def test_large_images_decoded_small_look_the_same() -> None:
    data = jpeg(960, 800)
    pixels = np.asarray(Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BICUBIC)) / 255
    expected = (pixels - np.array(PLAIN.mean)) / np.array(PLAIN.std)
    assert np.abs(EvalTransform(PLAIN)(data).numpy() - expected.transpose(2, 0, 1)).mean() < 0.02


def test_training_is_a_function_of_the_generator() -> None:
    transform, data = TrainTransform(TransformSpec(size=32)), jpeg()
    one, same, other = (transform(data, ["a dog"], generator(seed)) for seed in (4, 4, 5))
    assert one.shape == (3, 32, 32) and torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize(
    "text", ["man on the left", "RIGHT hand", "left-most cup", "the rightmost one", "is it (left)?"]
)
def test_no_flip_where_a_side_is_named(text: str) -> None:
    always = TrainTransform(PLAIN.model_copy(update={"flip": 1.0}))
    plain = EvalTransform(PLAIN)(jpeg())
    assert names_a_side(["what?", text])
    assert torch.equal(always(jpeg(), ["what?", text], generator(0)), plain)


@pytest.mark.parametrize("text", ["a bright copyright sign", "leftovers on a plate", "an upright piano", ""])
def test_flip_where_letters_only_look_like_a_side(text: str) -> None:
    always = TrainTransform(PLAIN.model_copy(update={"flip": 1.0}))
    plain = EvalTransform(PLAIN)(jpeg())
    assert torch.equal(always(jpeg(), [text], generator(0)), plain.flip(-1))


def test_flips_come_at_their_rate_and_a_named_side_does_not_shift_the_other_draws() -> None:
    half = TrainTransform(PLAIN.model_copy(update={"flip": 0.5}))
    plain = EvalTransform(PLAIN)(jpeg())
    flips = sum(not torch.equal(half(jpeg(), ["x"], generator(seed)), plain) for seed in range(200))
    assert 70 < flips < 130
    spec = TransformSpec(size=32, flip=0.5)
    free, bound = generator(3), generator(3)
    TrainTransform(spec)(jpeg(), ["x"], free)
    TrainTransform(spec)(jpeg(), ["left"], bound)
    assert free.random() == bound.random()


def test_crops_keep_to_scale_and_ratio() -> None:
    rng = generator(0)
    for _ in range(500):
        x0, y0, x1, y1 = random_box((96, 80), (0.2, 1.0), (3 / 4, 4 / 3), rng)
        w, h = x1 - x0, y1 - y0
        assert 0 <= x0 < x1 <= 96 and 0 <= y0 < y1 <= 80
        assert 0.18 <= w * h / (96 * 80) <= 1.0
        assert 0.72 <= w / h <= 1.39  # rounding to whole pixels
    # A very long image has no such box: the largest central one is taken.
    assert random_box((400, 20), (0.9, 1.0), (3 / 4, 4 / 3), rng) == (186, 0, 213, 20)


def test_the_crop_shows_what_the_box_holds() -> None:
    spec = PLAIN.model_copy(update={"crop_scale": (0.2, 0.3)})
    data = jpeg(400, 400)
    box = random_box((400, 400), (0.2, 0.3), spec.crop_ratio, generator(9))
    actual = TrainTransform(spec).augment(data, [], generator(9))
    expected = Image.open(io.BytesIO(data)).crop(box).resize((32, 32), Image.Resampling.BICUBIC)
    assert np.abs(np.asarray(actual, dtype=float) - np.asarray(expected, dtype=float)).mean() < 3


def test_operations_are_albefs_ten() -> None:
    assert set(OPERATIONS) == {
        "Identity", "AutoContrast", "Equalize", "Brightness", "Sharpness",
        "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate",
    }  # fmt: skip


def test_operations_on_a_dot() -> None:
    """White dot at (10, 20) on black, magnitude 10: each geometric operation moves it as far as it should."""
    pixels = np.zeros((41, 41, 3), dtype=np.uint8)
    pixels[20, 10] = 255
    image, spec = Image.fromarray(pixels), RandAugmentSpec(m=10, fill=0)

    def centre(name: str, sign: float) -> tuple[float, float]:
        actual = np.asarray(OPERATIONS[name](image, spec, sign), dtype=float)[..., 0]
        y, x = np.mgrid[:41, :41]
        return float((actual * x).sum() / actual.sum()), float((actual * y).sum() / actual.sum())

    assert centre("Identity", 1) == (10, 20)
    assert centre("TranslateX", -1) == pytest.approx((20, 20))
    assert centre("TranslateY", 1) == pytest.approx((10, 10))
    assert centre("ShearX", -1)[0] == pytest.approx(
        10 + 0.3 * 20, abs=0.3
    )  # a row moves by 0.3 of its number
    assert centre("ShearY", -1)[1] == pytest.approx(20 + 0.3 * 10, abs=0.3)
    x, y = centre("Rotate", 1)  # 30 degrees counter-clockwise about the centre (20, 20)
    assert (x, y) == pytest.approx((20 - 10 * np.cos(np.pi / 6), 20 + 10 * np.sin(np.pi / 6)), abs=0.6)


def test_magnitudes_and_fill() -> None:
    grey = Image.new("RGB", (40, 40), (50, 60, 70))
    brighter = OPERATIONS["Brightness"](grey, RandAugmentSpec(m=7), 1)
    assert brighter.getpixel((5, 5)) == tuple(int(v * 1.36) for v in (50, 60, 70))  # 0.7 * 1.8 + 0.1
    shifted = np.asarray(OPERATIONS["TranslateX"](grey, RandAugmentSpec(m=7), 1))
    assert (shifted[:, 33:] == 128).all() and (shifted[:, :32] == [50, 60, 70]).all()  # 7 px at magnitude 7


def test_randaugment_applies_each_draw_half_the_time() -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(30, 200, (24, 24, 3), dtype=np.uint8))
    spec = RandAugmentSpec(n=2, m=7)
    untouched = sum(randaugment(image, spec, generator(seed)) == image for seed in range(400))
    # Both draws idle: (1/2 + 1/2 * 1/10) squared = 0.30 (operations that leave this image as it is aside).
    assert 80 < untouched < 165
    never = spec.model_copy(update={"probability": 0.0})
    assert all(randaugment(image, never, generator(seed)) == image for seed in range(50))
    assert len({randaugment(image, spec, generator(seed)).tobytes() for seed in range(300)}) > 60


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"crop_scale": (0.5, 0.2)}, {"crop_scale": (0.0, 1.0)}, {"std": (1, 0, 1)}, {"turn": 3}):
        with pytest.raises(ValueError):
            TransformSpec(**wrong)
