"""NLVR2 and RefCOCO+, to the letter of their formats; pickles that try to run code are refused."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pair_releases
import pytest
from pair_releases import picture

from mamo.data.examples import Findings, FormatError
from mamo.data.releases import nlvr2, refcoco
from mamo.data.store.prepare import prepare
from mamo.data.store.records import Prepared

two_photos = pair_releases.two_photos
expressions = pair_releases.expressions


def test_nlvr2_prepared(two_photos: Path, tmp_path: Path) -> None:
    manifest = prepare("nlvr2", two_photos, tmp_path / "out", store_size=16)
    assert manifest["splits"] == {
        "train": {"images": 4, "records": 3},
        "dev": {"images": 2, "records": 1},
        "test": {"images": 2, "records": 1},
    }
    prepared = Prepared(tmp_path / "out")
    assert len(prepared.images) == 8  # two sentences share a pair
    first, second, _ = prepared.records("train")
    assert (first["image"], first["image2"]) == (second["image"], second["image2"])
    assert (first["label"], second["label"]) == (0, 1)
    assert first["text"] == "Two of train-10171-0-0." and first["identifier"] == "train-10171-0-0"
    assert prepared.images.key(first["image"]) == "train-10171-0-img0"
    assert prepared.images.size(first["image2"]) == (31, 20)


def test_nlvr2_one_pair_name_in_two_directories_is_two_pairs(two_photos: Path, tmp_path: Path) -> None:
    folder, listed = two_photos / "nlvr2/images/train", two_photos / "nlvr2/data/train.json"
    entry = json.loads(listed.read_text().split("\n")[0])
    more = entry | {"identifier": "train-10171-0-9", "directory": 4}
    listed.write_text(listed.read_text().strip() + "\n" + json.dumps(more) + "\n")
    for side in (0, 1):
        (folder / f"4/train-10171-0-img{side}.png").write_bytes(picture("PNG", (50 + side, 20)))
    prepare("nlvr2", two_photos, tmp_path / "out", store_size=16)
    prepared = Prepared(tmp_path / "out")
    first, *_, last = prepared.records("train")
    assert [prepared.images.size(first[name])[0] for name in ("image", "image2")] == [30, 31]
    assert [prepared.images.size(last[name])[0] for name in ("image", "image2")] == [50, 51]
    assert prepared.images.key(last["image"]) == "4/train-10171-0-img0.png"


def test_nlvr2_a_pair_without_one_photo_loses_all_its_sentences(two_photos: Path, tmp_path: Path) -> None:
    (two_photos / "nlvr2/images/train/39/train-10171-0-img1.png").unlink()
    manifest = prepare("nlvr2", two_photos, tmp_path / "out", store_size=16, missing_limit=0.2)
    assert manifest["splits"]["train"]["records"] == 1
    assert len(manifest["missing"]) == 1 and "train-10171-0-img1" in manifest["missing"][0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"identifier": "dev-1-0-0", "sentence": "x", "label": "Maybe"}', "label 'Maybe'"),
        ('{"identifier": "dev", "sentence": "x", "label": "True"}', "identifier 'dev'"),
        ('{"sentence": "x", "label": "True"}', "lacks 'identifier'"),
        ("{", "not JSON"),
    ],
)
def test_nlvr2_wrong_lines_are_named(two_photos: Path, line: str, message: str) -> None:
    path = two_photos / "nlvr2/data/dev.json"
    path.write_text(path.read_text().strip() + "\n" + line + "\n")
    with pytest.raises(FormatError, match=f"dev.json:2: .*{message}"):
        list(nlvr2.read(two_photos, Findings()))


def test_refcoco_prepared(expressions: Path, tmp_path: Path) -> None:
    manifest = prepare("refcoco_plus", expressions, tmp_path / "out", store_size=50)
    assert {split: n["records"] for split, n in manifest["splits"].items()} == {
        "train": 3,
        "val": 1,
        "testA": 1,
        "testB": 0,
    }
    assert manifest["left_out"] == {
        "empty expressions": {"count": 1, "named": ["2"]},
        "evaluation expressions without a proposal": {"count": 1, "named": ["3"]},
    }
    prepared = Prepared(tmp_path / "out")
    train = prepared.records("train")
    assert [r["text"] for r in train] == ["man in red", "red guy", "dog"]
    assert train[0]["box"] == pytest.approx([0.1, 0.1, 0.6, 0.6])
    lady = prepared.records("testA")[0]
    assert lady["box"] == pytest.approx([0.75, 0.5, 1.0, 1.0])  # cut at the image's border
    assert lady["proposals"] == [pytest.approx([0.25, 0.25, 0.75, 0.75]), pytest.approx([0, 0, 0.1, 1])]
    assert prepared.images.size(lady["image"]) == (200, 100)
    assert len(prepared.records("testB")) == 0 and prepared.records("testB").column("text").to_pylist() == []
    assert refcoco.evaluation_images(expressions) == {8, 9}


def test_python_2_pickles_are_read(expressions: Path) -> None:
    # protocol 0 as Python 2 wrote it: byte strings, here with UTF-8 in one of them
    entry = (
        b"(lp0\n(dp1\nS'ref_id'\nI5\nsS'ann_id'\nI100\nsS'image_id'\nI7\nsS'split'\nS'train'\nsS'sentences'\n"
    )
    entry += b"(lp2\n(dp3\nS'sent'\nS'caf\\xc3\\xa9 man'\nsasa."
    (expressions / "refcoco+/refs(unc).p").write_bytes(entry)
    (example,) = refcoco.read(expressions, Findings())
    assert example.records[0]["text"] == "café man"


class Malicious:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


def test_malicious_pickles_are_refused_before_they_act(expressions: Path, tmp_path: Path) -> None:
    target = tmp_path / "owned"
    (expressions / "refcoco+/refs(unc).p").write_bytes(pickle.dumps([Malicious(target)]))
    with pytest.raises(FormatError, match="refused .*only plain data"):
        list(refcoco.read(expressions, Findings()))
    assert not target.exists()
    for content in (b"", b"junk", pickle.dumps([1, 2])[:-3], pickle.dumps({"a": 1})):
        (expressions / "refcoco+/refs(unc).p").write_bytes(content)
        with pytest.raises(FormatError, match="refs"):
            list(refcoco.read(expressions, Findings()))
