"""A small release of Flickr30K."""

from __future__ import annotations

import io
import json
from pathlib import Path

from PIL import Image


def write_flickr30k(root: Path, captions: dict[str, list[str]], split: str = "train") -> None:
    folder = root / "flickr30k/flickr30k-images"
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for number, (name, texts) in enumerate(captions.items()):
        images.append(
            {"filename": f"{name}.jpg", "split": split, "sentences": [{"raw": text} for text in texts]}
        )
        out = io.BytesIO()
        Image.new("RGB", (24, 20), (number * 20, 9, 9)).save(out, "JPEG")
        (folder / f"{name}.jpg").write_bytes(out.getvalue())
    (root / "flickr30k/dataset_flickr30k.json").write_text(json.dumps({"images": images}))


def toy(root: Path, count: int = 10, captions: int = 2) -> None:
    write_flickr30k(root, {f"p{i}": [f"p{i} c{c}" for c in range(captions)] for i in range(count)})
