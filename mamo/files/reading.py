"""Open and read files from elsewhere within bounds: never a pipe or a device, never more bytes than allowed."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

# Larger images are refused; published sets stay far below.
MAX_IMAGE = 100 << 20
# The largest text of a release, Visual Genome's regions, has 0.7 GB.
MAX_FILE = 2 << 30

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_file(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: there is none, or it is a folder, a pipe, a socket or a device, whose opening or reading might never end.
    """
    # Without O_NONBLOCK, the opening of a pipe waits for somebody who writes into it.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(number).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError("is a folder, not a file")
        if not stat.S_ISREG(mode):
            raise OSError(f"is {_KINDS.get(stat.S_IFMT(mode), 'something else')}, not a file")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_file(path: Path, limit: int = MAX_FILE) -> bytes:
    """Read the content of a regular file.

    Args:
        limit: the most bytes that it may have.

    Raises:
        OSError: it cannot be opened (see :func:`open_file`), or is larger.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            raise OSError(f"has {size:,} bytes; more than {limit:,} are not read")
        content = file.read(size + 1)
    if len(content) != size:
        raise OSError(f"does not have the {size:,} bytes that its folder says: is it still being written?")
    return content


class Bounded(io.RawIOBase):
    """A file of which no more than an allowance of bytes is read until the allowance is renewed.

    An archive's table of contents holds sizes that libraries believe without checking.

    Args:
        file: what is read.
        allowance: bytes that may be read; None: any.
    """

    def __init__(self, file: BinaryIO, allowance: int | None) -> None:
        super().__init__()
        self._file = file
        self.allow(allowance)

    def allow(self, allowance: int | None) -> None:
        """Renew the allowance."""
        self._left, self._allowance = allowance, allowance

    def read(self, size: int = -1, /) -> bytes:
        """Read like a file, within the allowance.

        Raises:
            OSError: the allowance is used up.
        """
        if self._left is None:
            return self._file.read(size)
        if size is None or size < 0:  # the rest of the file
            size = self._left
            content = self._file.read(size + 1)
        else:
            content = b"" if size > self._left else self._file.read(size)
        if size > self._left or len(content) > self._left:
            raise OSError(
                f"its table of contents asks for more than the {self._allowance:,} bytes that are read"
            )
        self._left -= len(content)
        return content

    def seekable(self) -> bool:
        """It is."""
        return True

    def readable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Seek like a file."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Tell the position like a file."""
        return self._file.tell()

    def close(self) -> None:
        """Close the file too."""
        self._file.close()
        super().close()
