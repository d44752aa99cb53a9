"""NLVR2 and RefCOCO+, to the letter of their formats; pickles that try to run code are refused."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mamo.data.examples import Findings, FormatError
from mamo.data.releases import nlvr2, refcoco
from mamo.data.store.prepare import prepare
from mamo.data.store.records import Prepared


def picture(form: str, size: tuple[int, int] = (30, 20)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (9, 99, 200)).save(out, form)
    return out.getvalue()


@pytest.fixture
def two_photos(tmp_path: Path) -> Path:
    rows: dict[str, list[tuple[str, str, int | None]]] = {
        "train": [
            ("train-10171-0-0", "False", 39),
            ("train-10171-0-1", "True", 39),
            ("train-7-2-0", "True", 4),
        ],
        "dev": [("dev-850-0-0", "True", None)],
        "test1": [("test1-0-1-3", "False", None)],
    }
    data = tmp_path / "nlvr2/data"
    data.mkdir(parents=True)
    for name, entries in rows.items():
        lines = []
        for identifier, label, directory in entries:
            entry: dict[str, Any] = {
                "identifier": identifier,
                "sentence": f"Two of  {identifier}.",
                "label": label,
                "left_url": "u",
            }
            folder = tmp_path / "nlvr2/images" / name
            if directory is not None:
                entry["directory"] = directory
                folder = folder / str(directory)
            folder.mkdir(parents=True, exist_ok=True)
            for side in (0, 1):
                (folder / f"{identifier.rsplit('-', 1)[0]}-img{side}.png").write_bytes(
                    picture("PNG", (30 + side, 20))
                )
            lines.append(json.dumps(entry))
        (data / f"{name}.json").write_text("\n".join(lines) + "\n\n")
    return tmp_path


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


def ref(ref_id: int, ann_id: int, image_id: int, split: str, sentences: list[str]) -> dict[str, Any]:
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "category_id": 1,
        "image_id": image_id,
        "file_name": f"COCO_train2014_{image_id:012d}_{ann_id}.jpg",
        "split": split,
        "sent_ids": list(range(len(sentences))),
        "sentences": [
            {"sent_id": i, "sent": s, "raw": s.upper(), "tokens": s.split()} for i, s in enumerate(sentences)
        ],
    }


@pytest.fixture
def expressions(tmp_path: Path) -> Path:
    folder = tmp_path / "refcoco+"
    folder.mkdir()
    refs = [
        ref(0, 100, 7, "train", ["man in red", "red guy"]),
        ref(1, 101, 7, "train", ["dog"]),
        ref(2, 200, 8, "testA", ["lady", " "]),
        ref(3, 300, 9, "val", ["cup"]),
    ]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    images = [
        {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "width": 200, "height": 100, "license": 1}
        for i in (7, 8, 9)
    ]
    boxes = {100: [20, 10, 100, 50], 101: [0, 0, 200, 100], 200: [150, 50, 80, 80], 300: [1, 1, 2, 2]}
    shown = {100: 7, 101: 7, 200: 8, 300: 9}
    annotations = [{"id": a, "image_id": shown[a], "category_id": 1, "bbox": b} for a, b in boxes.items()]
    (folder / "instances.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    dets = [
        {
            "det_id": 0,
            "h5_id": 0,
            "image_id": 8,
            "category_id": 1,
            "box": [50.0, 25.0, 100.0, 50.0],
            "score": 0.9,
        },
        {
            "det_id": 1,
            "h5_id": 1,
            "image_id": 8,
            "category_id": 1,
            "box": [0.0, 0.0, 20.0, 100.0],
            "score": 0.4,
        },
        {
            "det_id": 2,
            "h5_id": 2,
            "image_id": 7,
            "category_id": 1,
            "box": [0.0, 0.0, 200.0, 1.0],
            "score": 0.4,
        },
    ]
    (folder / "dets.json").write_text(json.dumps(dets))
    photos = tmp_path / "coco/train2014"
    photos.mkdir(parents=True)
    for i in (7, 8, 9):
        (photos / f"COCO_train2014_{i:012d}.jpg").write_bytes(picture("JPEG", (200, 100)))
    return tmp_path


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
