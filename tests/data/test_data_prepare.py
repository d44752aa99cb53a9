"""Preparation: what is missing, limits, interleaving, and Table 10's counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flickr30k_release import toy, write_flickr30k

from mamo.data.store.manifest import dataset_statistics
from mamo.data.store.parts import join_parts, write_part
from mamo.data.store.prepare import MissingImages, prepare
from mamo.data.store.records import Prepared, PreparedError, read_manifest


def train_texts(path: Path) -> list[str]:
    prepared = Prepared(path)
    records = list(prepared.records("train"))
    for record in records:  # whatever the order, a caption stays with its image
        assert prepared.images.key(record["image"]) == record["text"].split()[0] + ".jpg"
    return [record["text"] for record in records]


def test_missing_and_unreadable_images_within_the_limit_are_listed_and_left_out(tmp_path: Path) -> None:
    toy(tmp_path)
    photos = tmp_path / "flickr30k/flickr30k-images"
    (photos / "p3.jpg").unlink()
    (photos / "p5.jpg").write_bytes(b"<html>")
    manifest = prepare("flickr30k", tmp_path, tmp_path / "out", store_size=16, missing_limit=0.2)
    assert [line.split(":")[0] for line in manifest["missing"]] == ["p3.jpg"]
    assert [line.split(":")[0] for line in manifest["unreadable"]] == ["p5.jpg"]
    assert manifest["splits"]["train"] == {"images": 8, "records": 16}
    texts = train_texts(tmp_path / "out")
    assert len(texts) == 16 and not {"p3 c0", "p5 c1"} & set(texts)


def test_too_many_missing_images_fail_with_the_full_list(tmp_path: Path) -> None:
    toy(tmp_path, 60, 1)
    for i in range(0, 60, 2):
        (tmp_path / f"flickr30k/flickr30k-images/p{i}.jpg").unlink()
    out = tmp_path / "out"
    with pytest.raises(MissingImages, match="of 60 images 30 are missing") as caught:
        prepare("flickr30k", tmp_path, out, store_size=16)
    assert str(caught.value).count("no such file") == 20 and str(out / "missing.json") in str(caught.value)
    assert len(json.loads((out / "missing.json").read_text())["missing"]) == 30
    with pytest.raises(PreparedError):
        Prepared(out)
    # Unlimited, as for sets whose links have rotted; the list of the failed attempt is gone.
    manifest = prepare("flickr30k", tmp_path, out, store_size=16, missing_limit=None)
    assert manifest["images"] == 30 and not (out / "missing.json").exists()


@pytest.mark.parametrize("parts", [1, 2])
def test_a_split_of_which_nothing_is_left_is_refused(tmp_path: Path, parts: int) -> None:
    """Whatever share may be missing: an empty training split would pass for a data set."""
    toy(tmp_path, 6)
    listing = tmp_path / "flickr30k/dataset_flickr30k.json"
    content = json.loads(listing.read_text())
    for image in content["images"][4:]:
        image["split"] = "val"
    listing.write_text(json.dumps(content))
    for i in range(4):
        (tmp_path / f"flickr30k/flickr30k-images/p{i}.jpg").write_bytes(b"<html>")
    out = tmp_path / "out"
    with pytest.raises(MissingImages, match=r"nothing would be left of the split 'train' \(of 4 examples\)"):
        if parts == 1:
            prepare("flickr30k", tmp_path, out, store_size=16, missing_limit=None)
        else:
            for part in range(parts):
                write_part("flickr30k", tmp_path, out, part, parts, store_size=16)
            join_parts("flickr30k", tmp_path, out, parts, store_size=16, missing_limit=None)
    assert len(json.loads((out / "missing.json").read_text())["unreadable"]) == 4
    (tmp_path / "flickr30k/flickr30k-images/p0.jpg").unlink()
    (tmp_path / "flickr30k/flickr30k-images/p5.jpg").rename(tmp_path / "flickr30k/flickr30k-images/p0.jpg")
    manifest = prepare("flickr30k", tmp_path, tmp_path / "other", store_size=16, missing_limit=None)
    assert manifest["splits"]["train"]["images"] == 1 and manifest["splits"]["test"]["images"] == 0


def test_limits_take_the_first_images_of_a_split(tmp_path: Path) -> None:
    toy(tmp_path)
    manifest = prepare("flickr30k", tmp_path, tmp_path / "out", store_size=16, limits={"train": 3})
    assert manifest["splits"]["train"] == {"images": 3, "records": 6}
    assert train_texts(tmp_path / "out")[::2] == ["p0 c0", "p1 c0", "p2 c0"]
    with pytest.raises(ValueError, match="limits name dev"):
        prepare("flickr30k", tmp_path, tmp_path / "other", store_size=16, limits={"dev": 3})


def test_interleaved_captions_take_turns(tmp_path: Path) -> None:
    toy(tmp_path, 4, 3)
    prepare("flickr30k", tmp_path, tmp_path / "out", store_size=16, interleave=2)
    expected = [f"p{pair + i} c{c}" for pair in (0, 2) for c in range(3) for i in (0, 1)]
    assert train_texts(tmp_path / "out") == expected


def test_interleaving_keeps_blocks_aligned_when_something_is_missing(tmp_path: Path) -> None:
    captions = {"p0": ["p0 c0", "p0 c1"], "p1": ["p1 c0"]} | {
        f"p{i}": [f"p{i} c0", f"p{i} c1"] for i in range(2, 7)
    }
    write_flickr30k(tmp_path, captions)
    (tmp_path / "flickr30k/flickr30k-images/p3.jpg").unlink()
    prepare("flickr30k", tmp_path, tmp_path / "out", store_size=16, interleave=2, missing_limit=0.5)
    assert train_texts(tmp_path / "out") == [
        *("p0 c0", "p1 c0"),
        *("p4 c0", "p5 c0", "p4 c1", "p5 c1"),
        *("p0 c1", "p2 c0", "p2 c1", "p6 c0", "p6 c1"),  # no partner: at the end
    ]


def test_only_training_captions_are_interleaved(tmp_path: Path) -> None:
    write_flickr30k(tmp_path, {f"p{i}": [f"p{i} c0", f"p{i} c1"] for i in range(2)}, split="test")
    prepare("flickr30k", tmp_path, tmp_path / "out", store_size=16, interleave=2)
    assert Prepared(tmp_path / "out").records("test").column("text").to_pylist() == [
        "p0 c0",
        "p0 c1",
        "p1 c0",
        "p1 c1",
    ]
    with pytest.raises(ValueError, match="interleave is for captions"):
        prepare("nlvr2", tmp_path, tmp_path / "n", store_size=16, interleave=2)


def test_threads_change_nothing(tmp_path: Path) -> None:
    toy(tmp_path, 40)
    done: list[int] = []
    one = prepare("flickr30k", tmp_path, tmp_path / "one", store_size=16, progress=done.append)
    many = prepare("flickr30k", tmp_path, tmp_path / "many", store_size=16, workers=3)
    assert one == many and done[-1] == 40


def test_unknown_data_sets_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no data set 'imagenet'; there are coco"):
        prepare("imagenet", tmp_path, tmp_path / "out", store_size=16)


def test_statistics_count_images_and_texts(tmp_path: Path) -> None:
    toy(tmp_path, 7, 3)
    prepare("flickr30k", tmp_path, tmp_path / "a", store_size=16)
    prepare("flickr30k", tmp_path, tmp_path / "b", store_size=16, limits={"train": 2})
    whole, part = (read_manifest(tmp_path / name) for name in ("a", "b"))
    assert dataset_statistics(whole) == {"dataset": "flickr30k", "images": 7, "texts": 21}
    assert dataset_statistics(part) == {"dataset": "flickr30k", "images": 2, "texts": 6}
    assert dataset_statistics(whole, "test") == {"dataset": "flickr30k", "images": 0, "texts": 0}
    assert dataset_statistics(whole, None) == dataset_statistics(whole)
    with pytest.raises(KeyError):
        dataset_statistics(whole, "testA")
