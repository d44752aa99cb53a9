"""What readers of releases hand to the preparation: examples, and findings about what was left out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mamo.data import archives

LISTED = 20  # items named per finding; the rest is counted


class FormatError(ValueError):
    """A release that is not in its official layout; the text names file, place and mend."""


@dataclass(frozen=True, slots=True)
class ImageSource:
    """An image of a release: a key unique in the data set, and its file or its encoded bytes."""

    key: str
    content: Path | bytes


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
    """What a reader left out of a release, by reason; counted in full, named up to ``LISTED``."""

    counts: dict[str, int] = field(default_factory=dict)
    named: dict[str, list[str]] = field(default_factory=dict)

    def note(self, reason: str, what: str | None = None, count: int = 1) -> None:
        """Count something under ``reason``; ``what`` names it."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        if what is not None:
            names = self.named.setdefault(reason, [])
            if len(names) < LISTED:
                names.append(what)

    def as_dict(self) -> dict[str, Any]:
        """``{reason: {count, named}}`` for the manifest."""
        return {
            reason: {"count": n, "named": self.named.get(reason, [])} for reason, n in self.counts.items()
        }


def clean(text: Any) -> str:
    """A text on one line: runs of white space become one space; ``None`` becomes the empty text.

    Halves of surrogate pairs, which JSON can hold and UTF-8 cannot, become question marks.
    """
    if text is None:
        return ""
    line = " ".join(str(text).split())
    return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")


def read_json(path: Path, mend: str) -> Any:
    """Parse a JSON file, which may still be in its owner's zip archive (in the file's folder or in the one above).

    Raises:
        FormatError: the file is missing or is not JSON; ``mend`` says what to do about it.
    """
    try:
        return json.loads(archives.read_bytes(path).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; {mend}") from error
    except OSError as error:
        raise FormatError(f"{path}: {error}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not JSON ({error}); {mend}") from error
