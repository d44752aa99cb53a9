"""Output of the readers of releases: examples, and findings about what was left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamo.data import archives

LISTED = 20  # items named per finding; the rest are only counted
MAX_TEXT = 10_000  # characters; a model reads a few hundred at most, and published texts stay far below
TOO_LONG = f"texts of more than {MAX_TEXT:,} characters"
NUL = "texts with a NUL character"
HALF = "texts with half a character, kept with a question mark in its place"


class FormatError(ValueError):
    """A release is not in its official layout; the message names the file, the place and the fix."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image of a release.

    Attributes:
        key: unique in the data set.
        content: its file or its encoded bytes.
        size: width and height in pixels that the records assume, if they do; an image of another size is refused.
    """

    key: str
    content: Path | bytes
    size: tuple[int, int] | None = None


class Keys:
    """Keys of a data set's images: the file's name, with its folders where another file has that name already."""

    def __init__(self) -> None:
        self._files: dict[str, Path] = {}

    def of(self, name: str, file: Path) -> str:
        """Return the key of a file: always the same one, and no other file's.

        Args:
            name: what the release calls the file.
        """
        key, depth = name, 1
        while self._files.setdefault(key, file) != file:
            depth += 1
            key = "/".join(file.parts[-depth:])
        return key


@dataclass(frozen=True, slots=True)
class Example:
    """One image (two in NLVR2) of one split, with all records that speak of it.

    ``records`` hold the columns of their kind except the image rows, which the preparation adds.
    """

    split: str
    images: tuple[ImageSource, ...]
    records: tuple[Mapping[str, Any], ...]


@dataclass
class Findings:
    """Records that a reader left out of a release, by reason: all are counted, the first ``LISTED`` are named.

    ``tallies`` holds other counts by part of the release: for VQA v2, how often each answer was chosen.
    """

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)
    tallies: dict[str, dict[str, int]] = field(default_factory=dict)

    def note(self, reason: str, what: str | None = None, count: int = 1) -> None:
        """Count an item under ``reason``; ``what`` names it."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        if what is not None:
            names = self.named.setdefault(reason, [])
            if len(names) < LISTED:
                names.append(what)

    def as_dict(self) -> dict[str, Any]:
        """Return ``{reason: {count, named}}`` for the manifest."""
        return {
            reason: {"count": n, "named": self.named.get(reason, [])} for reason, n in self.counts.items()
        }


def clean(text: Any) -> str:
    """Put a text on one line: runs of white space become one space; ``None`` becomes the empty text.

    Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, become question marks.
    """
    if text is None:
        return ""
    line = " ".join(str(text).split())
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")


def said(text: str | None, name: str, findings: Findings, empty: str) -> str:
    """Put a text of a release on one line; '' if it is left out, which is then noted in ``findings``.

    Args:
        name: of the text, for the findings.
        empty: the reason under which an empty text is noted.
    """
    if text is not None and (len(text) > MAX_TEXT or "\0" in text):
        findings.note(TOO_LONG if len(text) > MAX_TEXT else NUL, name)
        return ""
    line = clean(text)
    if not line:
        findings.note(empty, name)
    elif text is not None and not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        findings.note(HALF, name)
    return line


def parse_json(text: str) -> Any:
    """Parse JSON; refuse a key that is given twice in one object.

    Raises:
        ValueError: it is not JSON, or nested deeper than can be read.
    """
    try:
        return json.loads(text, object_pairs_hook=_refuse_duplicate_keys)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"an object has the key '{twice}' twice: {str(values)[:80]}")
    return values


def read_json(path: Path, fix: str) -> Any:
    """Parse a JSON file, which may still be in its owner's zip archive (in the file's folder or in the one above).

    Raises:
        FormatError: the file is missing or is not JSON; ``fix`` says what to do about it.
    """
    try:
        return parse_json(archives.read_bytes(path).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; {fix}") from error
    except OSError as error:
        raise FormatError(f"{path}: {error}") from error
    except ValueError as error:  # of JSON, of UTF-8, or a number of thousands of digits
        raise FormatError(f"{path}: not JSON ({error}); {fix}") from error


def read_text(path: Path, fix: str) -> str:
    """Read a text file in UTF-8, with or without a byte-order mark; may still be in its owner's zip archive.

    Raises:
        FormatError: the file is missing, or is not UTF-8 text.
    """
    try:
        return archives.read_bytes(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; {fix}") from error
    except OSError as error:
        raise FormatError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise FormatError(f"{path}:{line}: not text in UTF-8 ({error}); {fix}") from error
