"""Own pairs in tars: which files make a sample, and that nothing of a web data set is left out without a word."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from caption_releases import jpeg, texts, write_shard

from mamo.data.examples import Example, Findings, FormatError
from mamo.data.releases import tars
from mamo.data.releases.img2dataset import read_sbu


def read(root: Path, findings: Findings | None = None) -> list[Example]:
    return list(read_sbu(root, Findings() if findings is None else findings))


def told(examples: list[Example]) -> list[tuple[str, list[str], bytes]]:
    return [(e.images[0].key, texts(e), e.images[0].content) for e in examples]  # type: ignore[misc]


def test_files_of_a_sample_may_stand_apart(tmp_path: Path) -> None:
    """As `tar cf 00000.tar *.jpg *.txt` writes them."""
    members = {f"{i}.jpg": jpeg(i) for i in range(3)} | {f"{i}.txt": f"text {i}".encode() for i in (2, 0, 1)}
    write_shard(tmp_path / "sbu", "00000", members, 3, 3)
    findings = Findings()
    assert told(read(tmp_path, findings)) == [(f"00000/{i}", [f"text {i}"], jpeg(i)) for i in range(3)]
    assert not findings.counts


def test_a_key_may_hold_dots(tmp_path: Path) -> None:
    members = {
        "a.b.jpg": jpeg(1),
        "a.b.txt": b"one",
        "a.c.JPG": jpeg(2),
        "a.c.txt": b"two",
        "d.jpg": jpeg(3),
        "d.txt": b"three",
    }
    members |= {"d.npy": b"", "._d.jpg": b"resource fork", "d.mask.png": jpeg(9)}
    write_shard(tmp_path / "sbu", "00000", members, 3, 3)
    findings = Findings()
    actual = [
        ("00000/a.b", ["one"], jpeg(1)),
        ("00000/a.c", ["two"], jpeg(2)),
        ("00000/d", ["three"], jpeg(3)),
    ]
    assert told(read(tmp_path, findings)) == actual
    assert findings.counts == {"files of a kind that is not read": 2, "empty captions": 1}
    assert findings.named["empty captions"] == ["00000/d.mask"]


def test_equal_names_in_two_folders_are_two_samples(tmp_path: Path) -> None:
    members = {"cats/1.jpg": jpeg(50), "cats/1.txt": b"cat", "dogs/1.jpg": jpeg(90), "dogs/1.txt": b"dog"}
    write_shard(tmp_path / "sbu", "00000", members, 2, 2)
    assert told(read(tmp_path)) == [("00000/cats/1", ["cat"], jpeg(50)), ("00000/dogs/1", ["dog"], jpeg(90))]


def test_a_sample_given_twice_counts_once(tmp_path: Path) -> None:
    write_shard(
        tmp_path / "sbu", "00000", {"1.jpg": jpeg(1), "1.txt": b"a", "2.jpg": jpeg(2), "2.txt": b"b"}, 2, 2
    )
    with tarfile.open(tmp_path / "sbu/00000.tar", "a") as tar:
        for name, content in (("1.jpg", jpeg(9)), ("1.txt", b"another")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    findings = Findings()
    assert told(read(tmp_path, findings)) == [("00000/1", ["a"], jpeg(1)), ("00000/2", ["b"], jpeg(2))]
    assert findings.counts == {"samples given twice": 1}


def numbered(folder: Path, *numbers: int) -> None:
    for number in numbers:
        write_shard(folder, f"{number:05d}", {f"{number}.jpg": jpeg(), f"{number}.txt": b"x"}, 1, 1)


def test_shards_that_would_not_be_read_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "sbu"
    numbered(folder, 0, 1, 3)
    with pytest.raises(FormatError, match="lacks 00002.tar, though there is 00003.tar"):
        read(tmp_path)
    numbered(folder, 2)
    assert len(read(tmp_path)) == 4
    (folder / "00004_stats.json").write_text('{"count": 1, "successes": 1}')
    with pytest.raises(FormatError, match="lacks 00004.tar, which 00004_stats.json is about"):
        read(tmp_path)
    (folder / "00004_stats.json").unlink()
    numbered(folder / "more", 4)
    with pytest.raises(FormatError, match="more/00004.tar: shards are read from"):
        read(tmp_path)
    (folder / "more").rename(tmp_path / "more")
    (folder / "linked").symlink_to(tmp_path / "more")
    with pytest.raises(FormatError, match="linked/00004.tar: shards are read from"):
        read(tmp_path)
    (folder / "linked").unlink()
    (folder / "back").symlink_to(folder)
    (folder / "00004.tar.gz").write_bytes(b"packed")
    with pytest.raises(FormatError, match="00004.tar.gz: is not a plain .tar"):
        read(tmp_path)
    (folder / "00004.tar.gz").unlink()
    (folder / "sbu-captions-all.tar.gz").write_bytes(b"the list of addresses")
    assert len(read(tmp_path)) == 4
    shutil.move(folder / "00000.tar", folder / "a.tar")
    shutil.move(folder / "00000_stats.json", folder / "a_stats.json")
    assert len(read(tmp_path)) == 4, "names that are no numbers have no sequence"


def test_a_header_that_takes_everything_is_refused(tmp_path: Path) -> None:
    numbered(tmp_path / "sbu", 0)
    tar = tmp_path / "sbu/00000.tar"
    whole = tar.read_bytes()

    def headed(size: int, kind: bytes) -> bytes:
        header = bytearray(whole[:512])
        header[124:136] = (b"\x80" if size >= 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        return bytes(header) + whole[512:]

    for size in (1 << 60, len(whole), -1024):
        for kind in (b"0", b"x", b"g", b"L", b"S"):
            tar.write_bytes(headed(size, kind))
            with pytest.raises(FormatError, match="00000.tar"):
                read(tmp_path)
    for name, content in {
        "a damaged header between two files": whole[:512] + whole[512:].replace(b"ustar", b"usta!"),
        "two tars, one behind the other": whole + whole,
        "headers of headers": (headed(0, b"L")[:512]) * 2000 + whole,
    }.items():
        tar.write_bytes(content)
        with pytest.raises(FormatError, match="00000.tar: damaged tar|00000.tar: cannot be read"):
            read(tmp_path)
            pytest.fail(name)


def test_more_files_than_can_be_held_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbered(tmp_path / "sbu", 0)
    monkeypatch.setattr(tars, "MAX_MEMBERS", 1)
    with pytest.raises(FormatError, match="distribute them over several tars"):
        read(tmp_path)


def test_pipes_in_the_place_of_files_are_refused(tmp_path: Path) -> None:
    numbered(tmp_path / "sbu", 0)
    for name in ("00000.tar", "00000_stats.json"):
        path = tmp_path / "sbu" / name
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(FormatError, match=name):
            read(tmp_path)
        path.unlink()
        path.write_bytes(content)
