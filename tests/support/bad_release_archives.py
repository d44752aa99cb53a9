"""Wrong releases: zip archives, compressed files and pickles."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_inputs import Case


def _zip(
    root: Path, archive: str, members: dict[str, bytes], pack: int = zipfile.ZIP_STORED, links: bool = False
) -> Path:
    path = root / archive
    with zipfile.ZipFile(path, "w", pack) as packed:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = pack
            if links:
                info.external_attr = 0o120777 << 16
            packed.writestr(info, content)
    return path


def zips() -> Iterator[Case]:
    """A release that is still packed."""
    folder, listing = "coco/train2014", "coco/dataset_coco.json"

    def packed(change: Callable[[Path, dict[str, bytes]], None]) -> Callable[[Path], None]:
        def rewrite(root: Path) -> None:
            members = {f"train2014/{p.name}": p.read_bytes() for p in sorted((root / folder).iterdir())}
            shutil.rmtree(root / folder)
            change(root, members)

        return rewrite

    def note(change: Callable[[Path, bytes], None]) -> Callable[[Path], None]:
        def rewrite(root: Path) -> None:
            content = (root / listing).read_bytes()
            (root / listing).unlink()
            change(root, content)

        return rewrite

    name = "coco/train2014.zip"

    def damaged(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        raw[120:140] = b"\xff" * 20
        path.write_bytes(bytes(raw))

    def lying(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        entry = raw.find(b"PK\x01\x02")
        raw[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFF0)
        path.write_bytes(bytes(raw))

    def more(root: Path, members: dict[str, bytes]) -> None:
        """50 MB of zeros, as which 1,000 bytes are given."""
        path = _zip(root, name, members | {next(iter(members)): bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        entry = raw.find(b"PK\x01\x02")
        raw[entry + 24 : entry + 28] = struct.pack("<I", 1000)
        path.write_bytes(bytes(raw))

    def encrypted(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members)
        raw = bytearray(path.read_bytes())
        entry = raw.find(b"PK\x01\x02")
        raw[entry + 8] |= 1
        raw[6] |= 1
        path.write_bytes(bytes(raw))

    def links(root: Path, members: dict[str, bytes]) -> None:
        _zip(root, name, dict.fromkeys(members, b"/etc/passwd"), links=True)

    def cut(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members)
        path.write_bytes(path.read_bytes()[:-90])

    def fewer(root: Path, members: dict[str, bytes]) -> None:
        _zip(root, name, dict(list(members.items())[1:]))

    for words, change in {
        "packed": lambda root, members: _zip(root, name, members),
        "packed, links": links,
        "packed, damaged": damaged,
        "packed, a size that is not true": lying,
        "packed, more than its size says": more,
        "packed, a pipe": lambda root, members: os.mkfifo(root / name),
        "packed, encrypted": encrypted,
        "packed, one missing": fewer,
        "packed, no archive": lambda root, members: (root / name).write_bytes(b""),
        "packed, cut": cut,
    }.items():
        file = "coco" if words in ("packed, cut", "packed, no archive") else name
        yield Case("coco", words, file, packed(change))  # type: ignore[arg-type]
    for words, prefix in (
        ("upwards", "../../../"),
        ("from the root", "/tmp/"),
        ("through another folder", "x/"),
    ):

        def renamed(root: Path, members: dict[str, bytes], prefix: str = prefix) -> None:
            _zip(root, name, {prefix + key: content for key, content in members.items()})

        yield Case("coco", f"packed, names lead {words}", name, packed(renamed))

    archive, inner = "coco/caption_datasets.zip", "dataset_coco.json"

    def spaces(root: Path, content: bytes) -> None:
        bomb = b'{"images": [' + b" " * (150 << 20) + b"]}"
        _zip(root, archive, {inner: bomb}, zipfile.ZIP_DEFLATED)

    def short(root: Path, content: bytes) -> None:
        path = _zip(root, archive, {inner: content})
        path.write_bytes(path.read_bytes()[:500])

    for words, note_change, file in (
        ("packed", lambda root, content: _zip(root, archive, {inner: content}), archive),
        ("packed, a bomb of spaces", spaces, archive),
        ("packed, a link", lambda root, _: _zip(root, archive, {inner: b"/etc/passwd"}, links=True), inner),
        ("packed, twice", _two_notes, archive),
        ("packed, cut", short, archive),
        ("packed, damaged bzip2", _broken_bzip2, archive),
    ):
        yield Case("coco", f"{words} (captions)", file, note(note_change))  # type: ignore[arg-type]


def _two_notes(root: Path, content: bytes) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(root / "coco/caption_datasets.zip", "w") as packed:
        warnings.simplefilter("ignore", UserWarning)
        packed.writestr("dataset_coco.json", content)
        packed.writestr("dataset_coco.json", content.replace(b"train", b"test"))


def _broken_bzip2(root: Path, content: bytes) -> None:
    path = _zip(root, "coco/caption_datasets.zip", {"dataset_coco.json": content}, zipfile.ZIP_BZIP2)
    raw = bytearray(path.read_bytes())
    raw[60:90] = b"\0" * 30
    path.write_bytes(bytes(raw))


class _Calls:
    """Pickles into a call."""

    def __init__(self, function: Any, *words: Any) -> None:
        self.function, self.words = function, words

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.words


class _Has:
    def __init__(self) -> None:
        self.__dict__ = {"sent": "a dog"}


def pickles() -> Iterator[Case]:
    """``refs(unc).p`` as somebody who means harm would write it: each would leave the file ``owned`` beside the release."""
    import os

    import numpy as np

    refs = "refcoco+/refs(unc).p"
    touch = 'open("owned", "w")'
    command = "touch owned"
    for name, content in {
        "REDUCE of os.system": pickle.dumps([_Calls(os.system, command)], protocol=2),
        "REDUCE of eval": pickle.dumps([_Calls(eval, touch)], protocol=4),
        "GLOBAL and REDUCE, protocol 0": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        "GLOBAL of eval": f"c__builtin__\neval\n(S'{touch}'\ntR.".encode(),
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch owned\x85R.",
        "INST": f"(S'{command}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{command}'\no.".encode(),
        "NEWOBJ": b"\x80\x02cbuiltins\nobject\n)\x81.",
        "BUILD": pickle.dumps([_Has()], protocol=2),
        "EXT1": b"\x80\x02]\x82\x01a.",
        "EXT4": b"\x80\x02]\x84\x01\x00\x00\x00a.",
        "a persistent id": b"\x80\x02]X\x05\x00\x00\x00ownedQa.",
        "a persistent id, protocol 0": b"(lp0\nPowned\na.",
        "a numpy number": pickle.dumps([{"ref_id": np.int64(3)}], protocol=2),
        "a numpy array": pickle.dumps(np.arange(3), protocol=4),
        "a buffer out of band": b"\x80\x05]\x97a.",
        "a length of 8 exabytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        "a frame that is longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"].",
        "a list in itself": b"(lp0\ng0\na.",
        "a dict of lists as keys": b"\x80\x02}](K\x01e]s.",
        "nothing on the stack": b"\x80\x02.",
        "an unknown opcode": b"\x80\x02\xff.",
        "a protocol of the future": b"\x80\x63].",
        "empty": b"",
        "a text": b"refs",
        "a dict": pickle.dumps({"a": 1}),
        "a number": pickle.dumps(3),
        "an empty list": pickle.dumps([]),
        "a list of numbers": pickle.dumps([1, 2]),
        "lists 100,000 deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    }.items():
        yield Case(
            "refcoco_plus", f"a pickle: {name}", refs, lambda root, c=content: (root / refs).write_bytes(c)
        )  # type: ignore[misc]

    def cut(root: Path) -> None:
        (root / refs).write_bytes((root / refs).read_bytes()[:-40])

    yield Case("refcoco_plus", "a pickle: cut", refs, cut)
