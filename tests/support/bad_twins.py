"""Wrong releases whose parts do not belong together: another image's box or answer, one name for two files, shared lists."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_inputs import Case
from PIL import Image

_INSTANCES, _REFS = "refcoco+/instances.json", "refcoco+/refs(unc).p"


def _change(root: Path, file: str, change: Callable[[Any], None]) -> None:
    """Change a JSON file's content."""
    content = json.loads((root / file).read_bytes())
    change(content)
    (root / file).write_text(json.dumps(content))


def _named(root: Path, annotations: list[Any]) -> Any:
    """The annotation that the first ref names."""
    ref = pickle.loads((root / _REFS).read_bytes())[0]
    return next(annotation for annotation in annotations if annotation["id"] == ref["ann_id"])


def boxes() -> Iterator[Case]:
    """Boxes that do not show what the expression speaks of."""

    def other_image(root: Path) -> None:
        def change(content: Any) -> None:
            box = _named(root, content["annotations"])
            box["image_id"] = next(i["id"] for i in content["images"] if i["id"] != box["image_id"])

        _change(root, _INSTANCES, change)

    yield Case("refcoco_plus", "a named box is on another image", _INSTANCES, other_image)

    for name, box in {
        "without area": [1, 1, 0, 0],
        "a line": [1, 1, 20, 0],
        "thinner than float32 can say": [1, 1, 1e-9, 1e308],
    }.items():

        def flat(root: Path, box: Any = box) -> None:
            _change(root, _INSTANCES, lambda c: _named(root, c["annotations"]).update(bbox=box))

        yield Case("refcoco_plus", f"a named box is {name}", _INSTANCES, flat)

    def photo(root: Path) -> Path:
        ref = pickle.loads((root / _REFS).read_bytes())[0]
        images = json.loads((root / _INSTANCES).read_bytes())["images"]
        return root / "coco/train2014" / next(i["file_name"] for i in images if i["id"] == ref["image_id"])

    def smaller(root: Path) -> None:
        with Image.open(photo(root)) as image:
            image.resize((image.width // 2, image.height)).save(photo(root))

    def turned(root: Path) -> None:
        with Image.open(photo(root)) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            image.resize((48, 64)).save(photo(root), exif=exif)

        def change(content: Any) -> None:
            next(i for i in content["images"] if i["file_name"] == photo(root).name).update(
                width=48, height=64
            )

        _change(root, _INSTANCES, change)

    yield Case("refcoco_plus", "a photo of another size", _INSTANCES, smaller)
    yield Case("refcoco_plus", "a photo that EXIF turns", _INSTANCES, turned)


def _shared(levels: int, width: int) -> bytes:
    """A list that names one list many times, which names one list many times, and so on; 10 bytes a level."""
    content = b"\x80\x02]q\x00(" + b"K\x01" * width + b"e"
    for level in range(1, levels):
        content += b"0]q" + bytes([level]) + b"(" + (b"h" + bytes([level - 1])) * width + b"e"
    return content + b"."


def pickles() -> Iterator[Case]:
    """Pickles of plain data that take the machine."""
    sentence = {"sent": "a dog"}
    long = [sentence] * 5000
    refs = [
        {"ref_id": i, "ann_id": 1, "image_id": 1, "split": "train", "sentences": long} for i in range(3000)
    ]
    most = b"\xff" * 1999 + b"\x7f"
    for name, content in {
        "one long list in every ref": pickle.dumps(refs, protocol=2),
        "a text of ten megabytes in many places": pickle.dumps(
            [{"sent": "a" * 10_000_000}] * 100, protocol=2
        ),
        "lists of lists of one list": _shared(9, 50),
        "a number of 16,000 bits": b"\x80\x02]\x8b" + struct.pack("<I", 2000) + most + b"a.",
        "a number of 16,000 bits as a ref's": b"\x80\x02]}(X\x06\x00\x00\x00ref_id\x8b"
        + struct.pack("<I", 2000)
        + most
        + b"ua.",
        "a place of two thousand million in the memo": b"\x80\x02]r\xff\xff\xff\x7f.",
        "an array of two thousand million bytes": b"\x80\x05\x96" + struct.pack("<Q", 1 << 31) + b".",
        "a key that is a tuple": b"\x80\x02}K\x01K\x02\x86K\x03s.",
        "a set": pickle.dumps([{1, 2}], protocol=4),
    }.items():

        def rewrite(root: Path, content: bytes = content) -> None:
            (root / _REFS).write_bytes(content)

        yield Case("refcoco_plus", f"a pickle: {name}", _REFS, rewrite)


def questions() -> Iterator[Case]:
    """Questions and answers of two images, and questions of two parts."""
    asked = "vqa/v2_OpenEnded_mscoco_{}_questions.json"
    answered = "vqa/v2_mscoco_{}_annotations.json"
    train, val = asked.format("train2014"), asked.format("val2014")

    def other_image(root: Path) -> None:
        _change(root, answered.format("train2014"), lambda c: c["annotations"][4].update(image_id=999))

    def both(root: Path) -> None:
        for file, name in ((asked, "questions"), (answered, "annotations")):
            first = json.loads((root / file.format("train2014")).read_bytes())[name][0]
            _change(root, file.format("val2014"), lambda c, f=first, n=name: c[n].append(f))  # type: ignore[misc]

    yield Case("vqa2", "an answer to a question about another image", train, other_image, "questions[")
    yield Case("vqa2", "a question of both parts", val, both)


def genome() -> Iterator[Case]:
    """Regions and questions of another image."""
    for reader, file, name in (
        ("visual_genome", "region_descriptions", "regions"),
        ("visual_genome_qa", "question_answers", "qas"),
    ):
        path = f"visual_genome/{file}.json"

        def move(root: Path, path: str = path, name: str = name) -> None:
            def change(content: Any) -> None:
                content[1]["id"] = content[1].get("id", content[1][name][0]["image_id"])
                content[1][name][0]["image_id"] = content[0][name][0]["image_id"]

            _change(root, path, change)

        yield Case(reader, f"one of the {name} is another image's", path, move)


def flickr8k() -> Iterator[Case]:
    """Characters at which Python splits lines, and text files do not."""
    tokens = "flickr8k/Flickr8k_text/Flickr8k.token.txt"
    for name, mark in {
        "a vertical tab": "\v",
        "U+0085": "\x85",
        "U+2028": "\u2028",
        "a form feed": "\f",
    }.items():

        def put(root: Path, mark: str = mark) -> None:
            text = (root / tokens).read_text(encoding="utf-8")
            (root / tokens).write_text(text.replace("A a ", f"A{mark}a ", 1), encoding="utf-8")

        yield Case("flickr8k", f"{name} in a caption", tokens, put)


def cases() -> Iterator[Case]:
    """All of them."""
    for make in (boxes, pickles, questions, genome, flickr8k):
        yield from make()
