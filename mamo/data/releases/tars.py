"""Samples in a tar: files of one name and several kinds (``KEY.jpg``, ``KEY.txt``), wherever in the tar they stand."""

from __future__ import annotations

import re
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, cast

from mamo.data.examples import Findings, FormatError
from mamo.files.reading import MAX_IMAGE, Bounded, open_file

IMAGES = frozenset({"jpg", "jpeg", "png", "webp"})
KINDS = IMAGES | {"txt", "json"}
MAX_TEXT = 1 << 20  # bytes of a caption or of a note on a sample
# img2dataset writes 30,000 into a tar. Their places are held in memory.
MAX_MEMBERS = 250_000
_HEADER = 64 << 10  # bytes of a member's header with all its extensions; commonly 512
_NAME = 1_000  # characters
_PADDING = 4 << 20  # zeros at the end; tar's own is 10 kB
_OTHER, _LARGE = "files of a kind that is not read", "files that are too large, or have holes"


@dataclass(slots=True)
class Sample:
    """The files of one key.

    Attributes:
        name: unique in its tar.
        files: kind -> offset and size in bytes.
    """

    name: str
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


class SampleTar:
    """A tar whose members are found once and read where they are needed; use as a context manager.

    A member belongs to the sample of its folder and name up to the first dot, or up to the last one where what follows the
    first is not a kind that is read (``a.b.jpg`` is the image of ``a.b``). Nothing is unpacked, so where names lead does not
    matter.

    Args:
        path: the tar.
        findings: takes up members that are left out, and is told the samples they belong to as ``TAR/KEY``.

    Raises:
        FormatError: it is cut off or damaged; nothing of it has been read then.
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path, findings: Findings) -> None:
        self._path, self._findings = path, findings
        self._file = Bounded(open_file(path), _HEADER)
        try:
            self.samples = self._found()
        except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
            self._file.close()
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path}: damaged tar ({error})") from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> SampleTar:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, sample: Sample, kind: str) -> bytes:
        """A file of a sample."""
        offset, size = sample.files[kind]
        self._file.seek(offset)
        return self._file.read(size)

    def _found(self) -> list[Sample]:
        """The samples in the order of their first members."""
        found: dict[tuple[str, str], Sample] = {}
        last: tuple[str, str] | None = None
        repeated = (
            False  # whether the members that stand together now are those of a sample that was given before
        )
        for member in self._members():
            place = _place(member.name)
            if place is None:
                self._findings.note(_OTHER, self._named(member.name))
                continue
            folder, key, kind = place
            new, last = last != (folder, key), (folder, key)
            sample = found.setdefault(last, Sample(self._named(key)))
            repeated = kind in sample.files if new else repeated
            if repeated:
                if new:
                    self._findings.note("samples given twice", sample.name)
            elif kind in sample.files:
                self._findings.note("second files of one kind in a sample", f"{sample.name}.{kind}")
            elif member.issparse() or member.size > (MAX_IMAGE if kind in IMAGES else MAX_TEXT):
                self._findings.note(_LARGE, f"{sample.name}.{kind}")
            else:
                sample.files[kind] = (member.offset_data, member.size)
        often = Counter(key for _, key in found)
        for (folder, key), sample in found.items():
            if often[key] > 1:
                sample.name = self._named(f"{folder}/{key}")
        return list(found.values())

    def _named(self, name: str) -> str:
        return f"{self._path.stem}/{name[:80]}"

    def _members(self) -> Iterator[tarfile.TarInfo]:
        """The plain files in the tar."""
        size = self._file.seek(0, 2)
        self._file.seek(0)
        # Names that are not UTF-8 stay distinct and can be written.
        with tarfile.open(
            fileobj=cast(IO[bytes], self._file), mode="r:", encoding="utf-8", errors="backslashreplace"
        ) as tar:
            end = number = 0
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # or the headers of the whole tar would pile up
                number += 1
                # A size below zero, which tar's binary form can hold, would lead round in a circle.
                if member.size < 0 or member.offset < end:
                    raise FormatError(
                        f"{self._path}: damaged tar (its members overlap at byte {member.offset})"
                    )
                if number > MAX_MEMBERS:
                    raise FormatError(
                        f"{self._path}: holds more than {MAX_MEMBERS:,} files; distribute them over several tars"
                    )
                end = member.offset_data
                if member.isreg() and not member.issparse():
                    end += member.size
                    if end > size:
                        raise FormatError(
                            f"{self._path}: damaged tar ({member.name[:80]} says that it ends at byte {end:,}, beyond the "
                            f"tar's {size:,})"
                        )
                if len(member.name) > _NAME:
                    self._findings.note(
                        f"names of more than {_NAME:,} characters in a tar", self._named(member.name)
                    )
                elif member.isfile():
                    yield member
                elif not member.isdir():
                    self._findings.note("links and devices in a tar", self._named(member.name))
                self._file.allow(_HEADER)
            self._file.allow(None)
            self._check_end(tar.offset, size)

    def _check_end(self, offset: int, size: int) -> None:
        """Check that nothing follows the last member: a damaged header looks like the end of the tar."""
        self._file.seek(offset)
        if size - offset > _PADDING or self._file.read(_PADDING).strip(b"\0"):
            raise FormatError(
                f"{self._path}: damaged tar (what follows its last file, from byte {offset:,}, is not a file: a header is "
                "damaged, or two tars were put together)"
            )


def _place(name: str) -> tuple[str, str, str] | None:
    """Split a member's name into folder, key and kind; None if the kind is not read."""
    path = PurePosixPath(name)
    # What macOS adds to archives bears the names of the real files behind a dot.
    if path.name.startswith("."):
        return None
    for key, _, suffix in (path.name.partition("."), path.name.rpartition(".")):
        if suffix.lower() in KINDS and key:
            return re.sub(r"^[./]+", "", str(path.parent)), key, suffix.lower()
    return None
