"""Wrong releases: one photo wrong as a file."""

from __future__ import annotations

import io
import pickle
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_inputs import Case
from bad_release_tars import endless, pipe
from PIL import Image

# What of the releases folder a data set reads.
FOLDERS = {
    "coco": ("coco",),
    "visual_genome": ("visual_genome", "coco", "refcoco+"),
    "visual_genome_qa": ("visual_genome", "coco"),
    "sbu": ("sbu",),
    "cc3m": ("cc3m",),
    "flickr30k": ("flickr30k",),
    "flickr8k": ("flickr8k",),
    "vqa2": ("vqa", "coco"),
    "nlvr2": ("nlvr2",),
    "refcoco_plus": ("refcoco+", "coco"),
}


def encoded(form: str, size: tuple[int, int] = (64, 64), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, form, **options)
    return out.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0" * 40
    )


def _text_bomb() -> bytes:
    """A PNG whose comment is 200 MB of spaces, packed into 200 kB."""
    import zlib

    data = encoded("PNG")
    chunk = b"zTXt" + b"Comment\0\0" + zlib.compress(b" " * (200 << 20), 9)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + chunk + data[33:]


IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda c: b"",
    "cut in half": lambda c: c[: len(c) // 2],
    "cut to its header": lambda c: c[:20],
    "without its last bytes": lambda c: c[:-30],
    "a page of a server": lambda c: b"<html><script>alert(1)</script></html>",
    "a text": lambda c: b"a dog",
    "zeros": lambda c: bytes(len(c)),
    "PostScript": lambda c: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(touched) (w) file closefile\nshowpage\n",
    "a drawing with a script": lambda c: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "a pickle": lambda c: pickle.dumps([1, 2, 3]),
    "a bomb of 4 gigapixels": lambda c: _png_header(65_000, 65_000),
    "a bomb of 150 megapixels": lambda c: _png_header(15_000, 10_000),
    "no pixels": lambda c: _png_header(0, 10),
    "a bomb in a comment": lambda c: _text_bomb(),
    "a header with a huge size": lambda c: c.replace(b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 64, 64),
                                                     b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65500, 65500)),
}  # fmt: skip


def images() -> Iterator[Case]:
    """One photo of a data set, wrong as a file."""
    for reader, pattern in (
        ("coco", "coco/train2014/*.jpg"),
        ("flickr8k", "flickr8k/Flicker8k_Dataset/a.jpg"),
        ("nlvr2", "nlvr2/images/dev/*-img0.png"),
    ):
        for name, change in IMAGES.items() if reader == "coco" else list(IMAGES.items())[:6]:

            def rewrite(root: Path, change: Any = change, pattern: str = pattern) -> None:
                path = sorted(root.glob(pattern))[0]
                path.write_bytes(change(path.read_bytes()))

            yield Case(reader, f"a photo is {name}", pattern, rewrite)
            if name == "empty":
                yield Case(
                    reader,
                    f"a photo is {name}, none may be lost",
                    FOLDERS[reader][0],
                    rewrite,
                    options={"limit": 0.0},
                )

        def remove(root: Path, pattern: str = pattern) -> None:
            sorted(root.glob(pattern))[0].unlink()

        def folder(root: Path, pattern: str = pattern) -> None:
            path = sorted(root.glob(pattern))[0]
            path.unlink()
            path.mkdir()

        def as_pipe(root: Path, pattern: str = pattern) -> None:
            pipe(sorted(root.glob(pattern))[0])

        def as_endless(root: Path, pattern: str = pattern) -> None:
            endless(sorted(root.glob(pattern))[0])

        yield Case(reader, "a photo is a pipe", pattern, as_pipe)
        yield Case(reader, "a photo is a terabyte of nothing", pattern, as_endless)
        yield Case(reader, "a photo is missing", pattern, remove)
        yield Case(reader, "a photo is a folder", pattern, folder)
