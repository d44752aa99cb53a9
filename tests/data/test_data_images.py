"""One image: what is kept, what is converted, what is refused."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mamo.data.store import images
from mamo.data.store.images import ImageError, normalise


def encoded(image: Image.Image, form: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], axis=-1).astype(np.uint8))


def opened(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    assert image.format == "JPEG"
    return image


def test_small_rgb_jpeg_is_kept_byte_for_byte() -> None:
    data = encoded(gradient(50, 40))
    stored = normalise(data, 40)
    assert stored.jpeg == data
    assert (stored.width, stored.height) == (50, 40)


@pytest.mark.parametrize("size", [(300, 120), (120, 300), (1000, 997)])
def test_shorter_side_becomes_the_store_size_and_the_original_size_is_remembered(
    size: tuple[int, int],
) -> None:
    stored = normalise(encoded(gradient(*size)), 60)
    image = opened(stored.jpeg)
    assert min(image.size) == 60
    assert max(image.size) == round(max(size) * 60 / min(size))
    assert (stored.width, stored.height) == size
    expected = np.asarray(gradient(*size).resize(image.size, Image.Resampling.BICUBIC), dtype=float)
    assert np.abs(np.asarray(image, dtype=float) - expected).mean() < 4


def test_small_images_are_never_enlarged() -> None:
    assert opened(normalise(encoded(gradient(30, 20), "PNG"), 200).jpeg).size == (30, 20)


def test_exif_rotation_is_applied_and_counts_for_the_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise to display
    raw = gradient(40, 20)
    stored = normalise(encoded(raw, exif=exif), 100)
    image = opened(stored.jpeg)
    assert image.size == (20, 40) == (stored.width, stored.height)
    assert image.getexif().get(0x0112, 1) == 1
    expected = np.asarray(raw.transpose(Image.Transpose.ROTATE_270), dtype=float)
    assert np.abs(np.asarray(image, dtype=float) - expected).mean() < 4


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "1", "I;16"])
def test_other_modes_become_rgb_of_the_same_look(mode: str) -> None:
    grey = gradient(64, 64).convert("L")
    if mode == "I;16":
        source = encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 257), "PNG")
        expected = grey.convert("RGB")
    else:
        image = grey.convert(mode) if mode in ("L", "1", "P") else gradient(64, 64).convert(mode)
        source = encoded(image, "JPEG" if mode in ("L", "CMYK") else "PNG")
        expected = image.convert("RGB")
    stored = opened(normalise(source, 64).jpeg)
    assert stored.mode == "RGB"
    tolerance = 12 if mode == "1" else 5  # dithered dots suffer most from JPEG
    assert np.abs(np.asarray(stored, dtype=float) - np.asarray(expected, dtype=float)).mean() < tolerance


def test_truncated_empty_foreign_and_missing_files_are_refused_by_name(tmp_path: Path) -> None:
    whole = encoded(gradient(200, 200))
    for name, content in {
        "cut.jpg": whole[: len(whole) // 2],
        "empty.jpg": b"",
        "page.jpg": b"<html>404</html>",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=name):
            normalise(tmp_path / name, 64)
    with pytest.raises(ImageError, match="gone.jpg: no such file"):
        normalise(tmp_path / "gone.jpg", 64)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 99 * 100)
    with pytest.raises(ImageError, match="100 x 100 pixels"):
        normalise(encoded(gradient(100, 100)), 64)
    assert normalise(encoded(gradient(99, 100)), 64)


@pytest.mark.parametrize(
    ("white", "kind"),
    [(1, "float32"), (255, "float32"), (65535, "float32"), (255, "int32"), (65535, "int32")],
)
def test_grey_levels_of_32_bits_keep_their_look(white: int, kind: str) -> None:
    grey = gradient(64, 64).convert("L")
    levels = (np.asarray(grey, dtype=np.float64) / 255 * white).astype(kind)
    stored = opened(normalise(encoded(Image.fromarray(levels), "TIFF"), 64).jpeg)
    assert np.abs(np.asarray(stored.convert("L"), dtype=float) - np.asarray(grey, dtype=float)).mean() < 2


@pytest.mark.parametrize(("low", "high"), [(-1, 1), (0, 4), (0, 1e9), (0, np.nan), (0, np.inf)])
def test_grey_levels_of_no_known_range_are_refused(low: float, high: float) -> None:
    levels = np.full((8, 8), low, dtype=np.float32)
    levels[0] = high
    with pytest.raises(ImageError, match="white is known as 1, 255 or 65535"):
        normalise(encoded(Image.fromarray(levels), "TIFF"), 64)


def test_what_is_no_file_or_never_ends_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "device.jpg").symlink_to("/dev/zero")
    (tmp_path / "folder.jpg").mkdir()
    with (tmp_path / "huge.jpg").open("wb") as file:
        file.truncate(1 << 40)
    for name, reason in {
        "pipe": "is a pipe, not a file",
        "device": "is a device, not a file",
        "folder": "is a folder, not a file",
        "huge": "more than 104,857,600 are not read",
    }.items():
        with pytest.raises(ImageError, match=f"{name}.jpg: .*{reason}"):
            normalise(tmp_path / f"{name}.jpg", 64)
