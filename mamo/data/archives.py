"""Read files of a release as published: unpacked, or still inside a zip archive next to their place."""

from __future__ import annotations

import lzma
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple, cast

from mamo.files.reading import MAX_FILE, Bounded, open_file, read_file

# A large member that is packed more tightly than text or pictures can be counts as a decompression bomb.
BOMB_BYTES = 16 << 20
BOMB_RATIO = 200
# Bytes of a table of contents, enough for some 200,000 photographs. COCO's largest archive has 9 MB.
MAX_CONTENTS = 24 << 20
# Deflate gives no more than it is asked for; of the other methods, that many packed bytes can become 100 MB.
_PIECE, _PACKED_PIECE = 1 << 20, 4096


class ArchiveError(OSError):
    """An archive is damaged as a whole, so its contents are unknown."""


class ZipMember(NamedTuple):
    """A file inside a zip archive; it is only read into memory, so a malicious path in its name does no harm."""

    archive: Path
    name: str

    def read_bytes(self, limit: int = MAX_FILE) -> bytes:
        """Read the file's content.

        Args:
            limit: the most bytes that it may have.

        Raises:
            OSError: the archive is damaged there, or the file is a decompression bomb or larger than allowed.
        """
        try:
            archive = _open_archive(self.archive)
            info = archive.getinfo(self.name)
            if info.file_size > max(BOMB_BYTES, BOMB_RATIO * info.compress_size):
                raise OSError(
                    f"{self.archive}: {self.name} would become {info.file_size:,} bytes out of {info.compress_size:,}: "
                    "refused as a decompression bomb"
                )
            if info.file_size > limit:
                raise OSError(
                    f"{self.archive}: {self.name} has {info.file_size:,} bytes; more than {limit:,} are not read"
                )
            # Read in pieces: read() would unpack a member in full first, even if it holds more than its size says.
            plain = info.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            with archive.open(info) as member:
                return b"".join(iter(lambda: member.read(_PIECE if plain else _PACKED_PIECE), b""))
        except (
            zipfile.BadZipFile,
            zlib.error,
            lzma.LZMAError,
            EOFError,
            ValueError,
            KeyError,
            RuntimeError,
            NotImplementedError,  # zipfile's, of a compression that it does not know
        ) as error:
            raise OSError(f"{self.archive}: {self.name} cannot be read ({error}); fetch it again") from error


def find(path: Path, root: Path) -> ZipMember | None:
    """Find the member that would be at ``path`` if the archives were unpacked.

    Archives are looked for in every folder from the one of ``path`` up to ``root``; archives in ``root`` itself, beside
    other releases, must name the file's folder as well.

    Raises:
        ArchiveError: an archive is not a complete zip file, or holds two files of one name.
    """
    if not path.is_relative_to(root):
        return None
    for folder in _upwards(path.parent, root):
        members = [m for m in _members(folder).get(path.name, ()) if folder != root or _belongs(m, path)]
        if members:
            # VG_100K/1.jpg and VG_100K_2/1.jpg would differ: the one in a folder of the same name comes first.
            return min(members, key=lambda m: Path(m.name).parent.name != path.parent.name)
    return None


def read_bytes(path: Path) -> bytes:
    """Read a file, unpacked or from an archive in its folder or in the one above.

    Raises:
        FileNotFoundError: it is in neither.
        OSError: it cannot be read.
    """
    try:
        return read_file(path)
    except FileNotFoundError:
        member = find(path, path.parent.parent)
        if member is None:
            raise
        return member.read_bytes()


def _upwards(folder: Path, root: Path) -> Iterator[Path]:
    yield folder
    while folder != root:
        folder = folder.parent
        yield folder


def _belongs(member: ZipMember, path: Path) -> bool:
    folder = Path(member.name).parent.name
    return folder == path.parent.name or (not folder and path.suffix in (".json", ".p"))


def _members(folder: Path) -> dict[str, list[ZipMember]]:
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return {}
    return _index(folder, changed)


@lru_cache(maxsize=64)
def _index(folder: Path, changed: int) -> dict[str, list[ZipMember]]:
    """File name -> the members of that name in the folder's archives; ``changed`` makes a new archive seen."""
    members: dict[str, list[ZipMember]] = {}
    for archive in sorted(folder.glob("*.zip")):
        checksums: dict[str, int] = {}
        for info in _open_archive(archive).infolist():
            name = info.filename
            base = name.rsplit("/", 1)[-1]
            if checksums.setdefault(name, info.CRC) != info.CRC:
                raise ArchiveError(f"{archive}: holds {name} twice, with different contents; fetch it again")
            # What macOS adds to archives bears the names of the real files.
            if base and not base.startswith("._") and not name.startswith("__MACOSX/"):
                members.setdefault(base, []).append(ZipMember(archive, name))
    return members


@lru_cache(maxsize=64)
def _open_archive(archive: Path) -> zipfile.ZipFile:
    """Open an archive, once per process; reading from several threads is safe."""
    fix = "fetch it again, or remove it if its files are unpacked beside it"
    try:
        file = Bounded(open_file(archive), MAX_CONTENTS)
        opened = zipfile.ZipFile(cast(IO[bytes], file))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise ArchiveError(f"{archive}: is not a complete zip file ({error}); {fix}") from error
    except OSError as error:
        raise ArchiveError(f"{archive}: cannot be read ({error}); {fix}") from error
    file.allow(None)
    return opened
