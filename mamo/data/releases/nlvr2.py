"""NLVR2: a sentence about two photos, true or false."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings, FormatError, ImageSource, Keys, parse_json, read_text, said
from mamo.data.releases.fields import Entry, stays_inside

FILES = {"train": "train", "dev": "dev", "test": "test1"}
LABELS = {"True": 1, "False": 0}
_MEND = "it comes from the nlvr repository (lil-lab), folder nlvr2/data"


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``nlvr2/data/{train,dev,test1}.json``: one example per sentence, with its left and right photo.

    An identifier ``dev-850-0-1`` is sentence 1 of the pair ``dev-850-0-img0.png``, ``dev-850-0-img1.png``;
    training photos are in numbered directories.
    """
    keys = Keys()
    for split, name in FILES.items():
        seen: set[str] = set()
        for entry in _lines(root / f"nlvr2/data/{name}.json"):
            identifier, label = entry.word("identifier"), str(entry.value("label"))
            sentence = said(entry.text("sentence"), identifier[:80], findings, "empty sentences")
            folder = root / "nlvr2/images" / name
            if split == "train":
                directory = entry.value("directory")
                directory = str(directory) if isinstance(directory, int) else entry.word("directory")
                if not stays_inside(directory):
                    raise entry.wrong(f"'directory' leads out of its folder: '{directory[:60]}'")
                folder = folder / directory
            if label not in LABELS:
                raise entry.wrong(f"label '{label[:60]}' is neither True nor False")
            pair, dash, _ = identifier.rpartition("-")
            if not dash or "/" in identifier or not stays_inside(identifier):
                raise entry.wrong(f"identifier '{identifier[:60]}' does not look like dev-850-0-1")
            if not sentence:
                continue
            if identifier in seen:
                findings.note("sentences listed twice", identifier)
                continue
            seen.add(identifier)
            files = {name: folder / f"{name}.png" for name in (f"{pair}-img0", f"{pair}-img1")}
            photos = tuple(ImageSource(keys.of(name, file), file) for name, file in files.items())
            yield Example(
                split, photos, ({"text": sentence, "label": LABELS[label], "identifier": identifier},)
            )


def _lines(path: Path) -> Iterator[Entry]:
    lines = 0
    for number, line in enumerate(read_text(path, _MEND).split("\n"), 1):
        if line.strip():
            lines += 1
            try:
                yield Entry(parse_json(line), f"{path}:{number}", "", _MEND)
            except FormatError:
                raise
            except ValueError as error:
                raise FormatError(f"{path}:{number}: not JSON ({error}); {_MEND}") from error
    if not lines:
        raise FormatError(f"{path}: holds no sentence; {_MEND}")
