"""Wrong releases: shards of img2dataset, wrong as archives or in what they hold."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bad_inputs import JSON, LONG, TEXT, Case, field_cases, text_cases
from bad_release_texts import NUMBER, some


def _repacked(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def _member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def _renamed(prefix: str) -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        for info, _ in members:
            info.name = prefix + info.name

    return change


def _rewritten(suffix: str, content: bytes, drop: str = "") -> Callable[[list[Any]], None]:
    """The first sample's file of a kind with other content; the file of the kind ``drop`` goes."""

    def change(members: list[Any]) -> None:
        first = members[0][0].name.split(".")[0]
        for i, (info, _) in enumerate(members):
            if info.name == f"{first}.{suffix}":
                info.size = len(content)
                members[i] = (info, content)
        members[:] = [m for m in members if not (drop and m[0].name == f"{first}.{drop}")]

    return change


def _linked(kind: bytes, target: str) -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        name = members[0][0].name
        members[0] = _member(name, type=kind, linkname=target)

    return change


def _duplicate(members: list[Any]) -> None:
    members += [_member(info.name, content) for info, content in members[:3]]


def _double(members: list[Any]) -> None:
    members.insert(1, _member(members[0][0].name, members[-3][1]))


def _sparse(path: Path) -> None:
    """A member of 1 TiB that takes no room: GNU's form of files with holes."""
    raw = bytearray(path.read_bytes())
    info = tarfile.TarInfo("99.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:482] = b"0" * 11 + b"\0" + b"0" * 11 + b"\0" + b"\0" * 72  # no piece of data at all
    header[483:495] = b"20000000000000"[:12]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    end = len(raw.rstrip(b"\0"))
    end = -(-end // 512) * 512
    path.write_bytes(bytes(raw[:end]) + bytes(header) + b"\0" * 1024)


def _huge(path: Path) -> None:
    """The first member says that it has 8 GiB."""
    raw = bytearray(path.read_bytes())
    raw[124:136] = b"77777777777\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    path.write_bytes(bytes(raw))


def _says(size: int, kind: bytes = b"0") -> Callable[[Path], None]:
    """The first member says that it has so many bytes, in the binary form for large numbers, and that it is of a kind."""

    def wreck(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[124:136] = (b"\x80" if size >= 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
        raw[156:157] = kind
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
        path.write_bytes(bytes(raw))

    return wreck


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def endless(path: Path) -> None:
    """A terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _by_kind(members: list[Any]) -> None:
    """As `tar cf 00000.tar *.jpg *.json *.txt` writes them."""
    members.sort(key=lambda member: member[0].name.rsplit(".", 1)[-1])


def _dotted(members: list[Any]) -> None:
    for info, _ in members:
        key, suffix = info.name.rsplit(".", 1)
        info.name = f"{key}.{suffix.upper()}"


def _boundary(path: Path) -> None:
    """Cut off between two members, where a tar could as well end."""
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[6].offset
    path.write_bytes(path.read_bytes()[:offset])


TARS: dict[str, Callable[[list[Any]], None]] = {
    "names lead upwards": _renamed("../../../"),
    "names are absolute": _renamed("/etc/"),
    "names lie in a folder": _renamed("00000/"),
    "a photo is a link": _linked(tarfile.SYMTYPE, "/etc/passwd"),
    "a photo is a hard link": _linked(tarfile.LNKTYPE, "../secret"),
    "a photo is a device": _linked(tarfile.CHRTYPE, ""),
    "a photo is a pipe": _linked(tarfile.FIFOTYPE, ""),
    "a photo is text": _rewritten("jpg", b"a dog"),
    "a photo is empty": _rewritten("jpg", b""),
    "a caption of ten megabytes": _rewritten("txt", LONG.encode()),
    "a caption in Latin-1": _rewritten("txt", "un café".encode("latin-1")),
    "a caption in UTF-16": _rewritten("txt", "a dog".encode("utf-16")),
    "a caption with a NUL": _rewritten("txt", b"a\0dog"),
    "an empty caption": _rewritten("txt", b" \n"),
    "no caption but a damaged note": _rewritten("json", b'{"caption": "cut', "txt"),
    "no caption but a number": _rewritten("json", b'{"caption": 5}', "txt"),
    "no caption but a deep note": _rewritten("json", b"[" * 50_000, "txt"),
    "no caption but a note of NaN": _rewritten("json", b'{"caption": NaN}', "txt"),
    "a sample twice": _duplicate,
    "a file twice": _double,
    "files by kind": _by_kind,
    "kinds in capitals": _dotted,
    "a file of no kind": lambda members: members.append(_member("x.npy", b"1")),
    "a caption in a photo's name": lambda members: members.append(_member("x.y.jpg", b"1")),
}
FILES: dict[str, Callable[[Path], None]] = {
    "empty": lambda p: p.write_bytes(b"") and None,
    "cut in half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]) and None,
    "cut between two members": _boundary,
    "cut in its first header": lambda p: p.write_bytes(p.read_bytes()[:300]) and None,
    "a page of a server": lambda p: p.write_bytes(b"<html>404</html>" * 100) and None,
    "compressed": lambda p: p.write_bytes(__import__("gzip").compress(p.read_bytes())) and None,
    "a bomb of 1 TiB": _sparse,
    "a member that says 8 GiB": _huge,
    "a member that says 2^60 bytes": _says(1 << 60),
    "a member that says less than nothing": _says(-1024),
    "a long name of 2^60 bytes": _says(1 << 60, b"L"),
    "an extended header of 2^60 bytes": _says(1 << 60, b"x"),
    "a global header of less than nothing": _says(-512, b"g"),
    "two tars": lambda p: p.write_bytes(p.read_bytes() * 2) and None,
    "a pipe": pipe,
    "a terabyte of nothing": endless,
    "a damaged checksum": lambda p: (
        p.write_bytes(p.read_bytes()[:150] + b"9" + p.read_bytes()[151:]) and None
    ),
    "a zip": lambda p: zipfile.ZipFile(p, "w").close(),
}


# What lies beside a shard, and would not be read.
BESIDE: dict[str, Callable[[Path], Any]] = {
    "a note on another shard": lambda p: p.with_name("00001_stats.json").write_text("{}"),
    "another number": lambda p: (
        p.rename(p.with_name("00001.tar"))
        and p.with_name("00000_stats.json").rename(p.with_name("00001_stats.json"))
    ),
    "a shard in a folder": lambda p: shutil.copytree(p.parent, p.parent / "more"),
    "a packed shard": lambda p: p.with_name("00001.tar.gz").write_bytes(b""),
}


def shards() -> Iterator[Case]:
    """Tars of img2dataset and their statistics."""
    for reader in ("sbu", "cc3m"):
        tar, stats = f"{reader}/00000.tar", f"{reader}/00000_stats.json"
        every = reader == "sbu"
        for name, change in TARS.items() if every else list(TARS.items())[:4]:
            kept = name in ("a caption in Latin-1",)
            yield Case(reader, name, tar, lambda root, c=change, t=tar: _repacked(root / t, c), kept=kept)  # type: ignore[misc]
        for name, wreck in FILES.items() if every else list(FILES.items())[:3]:
            yield Case(reader, name, tar, lambda root, w=wreck, t=tar: w(root / t))  # type: ignore[misc]
        for name, add in BESIDE.items() if every else ():
            yield Case(reader, name, reader, lambda root, a=add, t=tar: a(root / t))  # type: ignore[misc]
        yield from text_cases(reader, stats, JSON if every else {"empty": TEXT["empty"]})
        if every:
            yield from field_cases(
                reader, stats, ("successes",), "", some(NUMBER) | {"minus one": -1, "more": 99}
            )
            yield from field_cases(reader, stats, ("count",), "", some(NUMBER) | {"minus one": -1})
