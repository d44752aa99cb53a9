"""NLVR2: a sentence about two photos, true or false."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings, FormatError, ImageSource, clean

FILES = {"train": "train", "dev": "dev", "test": "test1"}
LABELS = {"True": 1, "False": 0}
_MEND = "it comes from the nlvr repository (lil-lab), folder nlvr2/data"


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``nlvr2/data/{train,dev,test1}.json``: one example per sentence, with its left and right photo.

    An identifier ``dev-850-0-1`` is sentence 1 of the pair ``dev-850-0-img0.png``, ``dev-850-0-img1.png``;
    training photos lie in numbered directories.
    """
    for split, name in FILES.items():
        path = root / f"nlvr2/data/{name}.json"
        for number, entry in enumerate(_lines(path), 1):
            where = f"{path}:{number}"
            try:
                identifier, sentence, label = (
                    entry["identifier"],
                    clean(entry["sentence"]),
                    str(entry["label"]),
                )
                folder = root / "nlvr2/images" / name
                if split == "train":
                    folder = folder / str(entry["directory"])
            except KeyError as error:
                raise FormatError(f"{where}: lacks {error}; {_MEND}") from error
            if label not in LABELS:
                raise FormatError(f"{where}: label '{label}' is neither True nor False; {_MEND}")
            pair, dash, _ = identifier.rpartition("-")
            if not dash:
                raise FormatError(
                    f"{where}: identifier '{identifier}' does not look like dev-850-0-1; {_MEND}"
                )
            if not sentence:
                findings.note("empty sentences", identifier)
                continue
            photos = tuple(ImageSource(f"{pair}-img{i}", folder / f"{pair}-img{i}.png") for i in (0, 1))
            yield Example(
                split, photos, ({"text": sentence, "label": LABELS[label], "identifier": identifier},)
            )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        yield json.loads(line)
                    except json.JSONDecodeError as error:
                        raise FormatError(f"{path}:{number}: not JSON ({error}); {_MEND}") from error
    except FileNotFoundError as error:
        raise FormatError(f"{path}: no such file; {_MEND}") from error
