"""Small releases of caption data sets in their official layouts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mamo.data.examples import Example
from mamo.data.releases import flickr8k


def jpeg(colour: int = 0) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (16, 12), (colour, 90, 90)).save(out, "JPEG")
    return out.getvalue()


def karpathy(entries: list[tuple[str, str, list[str]]], **more: Any) -> dict[str, Any]:
    images = []
    for number, (name, split, captions) in enumerate(entries):
        sentences = [
            {"raw": c, "tokens": c.split(), "sentid": number * 10 + i, "imgid": number}
            for i, c in enumerate(captions)
        ]
        images.append(
            {"filename": name, "split": split, "sentences": sentences, "imgid": number, "sentids": []}
            | {key: values[number] for key, values in more.items()}
        )
    return {"dataset": "toy", "images": images}


def texts(example: Example) -> list[str]:
    return [record["text"] for record in example.records]


def write_shard(folder: Path, name: str, members: dict[str, bytes], count: int, successes: int) -> None:
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / f"{name}.tar", "w") as tar:
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (folder / f"{name}_stats.json").write_text(json.dumps({"count": count, "successes": successes}))


def region(phrase: str, width: int, height: int) -> dict[str, Any]:
    return {"region_id": 1, "phrase": phrase, "x": 0, "y": 0, "width": width, "height": height, "image_id": 0}


@pytest.fixture
def genome(tmp_path: Path) -> Path:
    folder = tmp_path / "visual_genome"
    (folder / "VG_100K").mkdir(parents=True)
    (folder / "VG_100K_2").mkdir()
    for path in ("VG_100K/1.jpg", "VG_100K_2/2.jpg"):
        (folder / path).write_bytes(jpeg())
    data = [
        {"image_id": i, "coco_id": c, "width": 9, "height": 9}
        for i, c in [(1, None), (2, 73), (3, 42), (4, 44)]
    ]
    (folder / "image_data.json").write_text(json.dumps(data))
    regions: list[dict[str, Any]] = [
        {"id": 1, "regions": [region("small dog", 2, 2), region("A tree", 9, 9), region(" a tree ", 8, 8)]},
        {"id": 2, "regions": [region(f"thing {n}", n, 1) for n in range(1, 12)]},
        {"id": 3, "regions": [region("held out", 2, 2)]},
        {"id": 4, "regions": [region("held out too", 2, 2)]},
        {"id": 99, "regions": [region("unknown", 2, 2)]},
    ]
    for entry in regions:
        for one in entry["regions"]:
            one["image_id"] = entry["id"]
    (folder / "region_descriptions.json").write_text(json.dumps(regions))
    qas: list[dict[str, Any]] = [
        {"id": i, "qas": [{"qa_id": 10 + i, "question": "What is it?", "answer": "The  Dog.", "image_id": i}]}
        for i in (1, 2, 3, 4)
    ]
    qas[0]["qas"].append({"qa_id": 20, "question": "Which?", "answer": "a.", "image_id": 1})
    (folder / "question_answers.json").write_text(json.dumps(qas))
    return tmp_path


def write_coco_splits(root: Path) -> None:
    (root / "coco").mkdir()
    content = karpathy(
        [("r.jpg", "restval", ["x"]), ("t.jpg", "test", ["x"]), ("v.jpg", "val", ["x"])],
        cocoid=[73, 42, 44],
        filepath=["val2014"] * 3,
    )
    (root / "coco" / "dataset_coco.json").write_text(json.dumps(content))


def write_flickr8k(root: Path, tokens: str, **lists: list[str]) -> None:
    """Flickr8k's text files and its empty folder of photos."""
    text, photos = root / "flickr8k/Flickr8k_text", root / "flickr8k/Flicker8k_Dataset"
    text.mkdir(parents=True)
    photos.mkdir()
    (text / "Flickr8k.token.txt").write_text(tokens, encoding="utf-8")
    for split, name in flickr8k.LISTS.items():
        (text / name).write_text("\n".join(lists.get(split, [])) + "\n")
