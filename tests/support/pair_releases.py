"""Small releases of NLVR2 and RefCOCO+."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


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
