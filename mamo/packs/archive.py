"""The file format of a pack: a tar with xz compression that any system can open, the same bytes for the same content.

A pack may come from anybody: names are checked against a list of known ones, sizes and memory are bounded, and only plain files
are accepted.
"""

from __future__ import annotations

import io
import lzma
import re
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from mamo.files.stored import StoredError
from mamo.files.writing import atomic_write

CONTENTS: Final = "pack.json"
LARGEST = 256 << 20  # bytes of one file
LARGEST_TENSORS = 1 << 30  # bytes of one file of starting weights: BERT-base takes 440 MB
TOTAL = 2 << 30  # bytes of all files together, with the tar's own
MEMBERS = 200_000
_MEMORY = 512 << 20  # bytes of memory that decompression may take
_DICTIONARY = 64 << 20  # bytes back in which the compressor looks for repetitions: enough for many runs
_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}"
# site/kind/run/file, or figures/file; only DALL-E's encoder has a folder within its run's
MEMBER = re.compile(
    rf"{CONTENTS}"
    rf"|(?P<site>{_PART})/(?P<kind>data|weights|pretrain|finetune)/(?P<run>{_PART})"
    rf"/(?P<file>(?:codebook/)?{_PART})"
    rf"|figures/(?P<figure>{_PART}\.json)"
)


class PackError(StoredError):
    """A file is not a pack, or is a damaged one; the message names the file and the reason."""


def write_archive(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """Write files as a pack, atomically.

    Args:
        files: names and contents, in the order in which they are written. Similar contents compress best side by side.
    """
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": _DICTIONARY}]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_write(path) as part,
        lzma.open(part, "wb", format=lzma.FORMAT_XZ, check=lzma.CHECK_SHA256, filters=filters) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, content in files:
            if not MEMBER.fullmatch(name):
                raise ValueError(f"'{name}' cannot be a file of a pack")
            entry = tarfile.TarInfo(name)  # no time, no owner: the same content gives the same bytes
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))


def read_archive(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a pack, one by one.

    Raises:
        PackError: it is not a pack, is cut off or damaged, holds other files than a pack's, or is too large.
    """
    seen: set[str] = set()
    try:
        with path.open("rb") as file, tarfile.open(fileobj=_Unpacked(file, path), mode="r|") as archive:
            for entry in archive:
                if not entry.isreg() or not MEMBER.fullmatch(entry.name):
                    raise PackError(f"{path}: holds '{entry.name[:200]}', which is not a file of a pack")
                if entry.name in seen:
                    raise PackError(f"{path}: holds '{entry.name}' twice")
                if entry.size > largest(entry.name) or len(seen) >= MEMBERS:
                    raise PackError(f"{path}: '{entry.name}': larger than a pack can be")
                seen.add(entry.name)
                stream = archive.extractfile(entry)
                assert stream is not None, "a regular file has content"
                content = stream.read()
                if len(content) != entry.size:
                    raise PackError(f"{path}: is cut off at '{entry.name}'")
                yield entry.name, content
    except PackError:
        raise
    except FileNotFoundError:
        raise PackError(f"{path}: no such file") from None
    except (OSError, tarfile.TarError, lzma.LZMAError, EOFError, ValueError, OverflowError) as error:
        raise PackError(f"{path}: cannot be read as a pack ({str(error)[:200]})") from error


def largest(name: str) -> int:
    """Return the most bytes that a file of a pack may have."""
    match = MEMBER.fullmatch(name)
    tensors = match is not None and match["kind"] == "weights" and name.endswith(".safetensors")
    return LARGEST_TENSORS if tensors else LARGEST


class _Unpacked(io.RawIOBase):
    """Stream of an xz file's content that never holds or returns more than a pack may have."""

    def __init__(self, file: io.BufferedIOBase, path: Path) -> None:
        self.file, self.path, self.given = file, path, 0
        self.decompressor = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MEMORY)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if size < 0 or self.given + size > TOTAL + tarfile.RECORDSIZE:
            raise PackError(f"{self.path}: larger than a pack can be")
        content = b""
        while len(content) < size and not self.decompressor.eof:
            more = self.file.read(1 << 16) if self.decompressor.needs_input else b""
            if self.decompressor.needs_input and not more:
                raise PackError(f"{self.path}: is cut off")
            content += self.decompressor.decompress(more, size - len(content))
        self.given += len(content)
        return content
