"""NLVR2: a sentence about two photos, true or false."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, StringConstraints

from mamo.data.examples import Example, Findings, FormatError, ImageSource, Keys, parse_json, read_text, said
from mamo.data.releases.fields import File, check

FILES = {"train": "train", "dev": "dev", "test": "test1"}
LABELS = {"True": 1, "False": 0}
_ORIGIN = "it comes from the nlvr repository (lil-lab), folder nlvr2/data"


@dataclass(slots=True, kw_only=True)
class Sentence:
    """A line of dev and test; a label may also be true or false."""

    identifier: Annotated[File, StringConstraints(pattern="^[^/]*-[^/-]*$")]  # such as dev-850-0-1
    sentence: str | None
    label: Annotated[Literal["True", "False"], BeforeValidator(str)]


@dataclass(slots=True, kw_only=True)
class TrainingSentence(Sentence):
    """A line of train, whose photos are in numbered directories."""

    directory: Annotated[File, BeforeValidator(lambda value: str(value) if type(value) is int else value)]


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``nlvr2/data/{train,dev,test1}.json``: one example per sentence, with its left and right photo.

    An identifier ``dev-850-0-1`` is sentence 1 of the pair ``dev-850-0-img0.png``, ``dev-850-0-img1.png``.
    """
    keys = Keys()
    for split, name in FILES.items():
        seen: set[str] = set()
        for line in _lines(
            root / f"nlvr2/data/{name}.json", TrainingSentence if split == "train" else Sentence
        ):
            identifier = line.identifier
            sentence = said(line.sentence, identifier[:80], findings, "empty sentences")
            if not sentence:
                continue
            if identifier in seen:
                findings.note("sentences listed twice", identifier)
                continue
            seen.add(identifier)
            folder = root / "nlvr2/images" / name
            if isinstance(line, TrainingSentence):
                folder = folder / line.directory
            pair = identifier.rpartition("-")[0]
            files = {name: folder / f"{name}.png" for name in (f"{pair}-img0", f"{pair}-img1")}
            photos = tuple(ImageSource(keys.of(name, file), file) for name, file in files.items())
            record = {"text": sentence, "label": LABELS[line.label], "identifier": identifier}
            yield Example(split, photos, (record,))


def _lines(path: Path, kind: type[Sentence]) -> Iterator[Sentence]:
    lines = 0
    for number, line in enumerate(read_text(path, _ORIGIN).split("\n"), 1):
        if line.strip():
            lines += 1
            try:
                yield check(parse_json(line), kind, f"{path}:{number}", _ORIGIN)
            except FormatError:
                raise
            except ValueError as error:
                raise FormatError(f"{path}:{number}: not JSON ({error}); {_ORIGIN}") from error
    if not lines:
        raise FormatError(f"{path}: holds no sentence; {_ORIGIN}")
