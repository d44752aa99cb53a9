"""Web data sets as img2dataset leaves them: tars of ``KEY.jpg``, ``KEY.txt``, ``KEY.json``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from mamo.data.examples import Example, Findings, FormatError, ImageSource, parse_json, said
from mamo.data.releases.fields import Whole, document
from mamo.data.releases.tars import IMAGES, Sample, SampleTar

_STATS = "_stats.json"
# img2dataset's names: all numbers of at least five digits, counted from 0.
_NUMBER = re.compile(r"\d{5,}")


@dataclass(slots=True)
class Stats:
    """What img2dataset says of a finished shard: links, and images among them."""

    count: Annotated[Whole, Field(ge=0)] = 0
    successes: Annotated[Whole, Field(ge=0)] = 0


def read_sbu(root: Path, findings: Findings, part: int = 0, parts: int = 1) -> Iterator[Example]:
    """Read SBU Captions, 860k photos of Flickr with their owners' titles: ``sbu/*.tar``, all of them or one part."""
    return read_shards(root / "sbu", findings, part, parts)


def read_cc3m(root: Path, findings: Findings, part: int = 0, parts: int = 1) -> Iterator[Example]:
    """Read Conceptual Captions 3M, 2.95M web images with cleaned alt texts: ``cc3m/*.tar``, all of them or one part."""
    return read_shards(root / "cc3m", findings, part, parts)


def read_shards(folder: Path, findings: Findings, part: int = 0, parts: int = 1) -> Iterator[Example]:
    """One training example per downloaded image, in the order of the shards; one sample at a time is in memory.

    Links that could not be downloaded are noted from the shards' ``_stats.json``.

    Args:
        part, parts: only the shards of this part of the release, counted from 0: consecutive ones.

    Raises:
        FormatError: no tars, a shard that is missing or elsewhere, or one whose download was interrupted.
    """
    shards = _shards(folder)
    for shard in shards[part * len(shards) // parts : (part + 1) * len(shards) // parts]:
        yield from _read(shard, findings)


def _shards(folder: Path) -> list[Path]:
    """List the shards in order, after checking that none is left out."""
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        raise FormatError(f"{folder}: no *.tar; download it with img2dataset --output_format webdataset")
    names = {shard.stem for shard in shards}
    orphans = sorted({stats.name.removesuffix(_STATS) for stats in folder.glob(f"*{_STATS}")} - names)
    if orphans:
        raise FormatError(
            f"{folder}: lacks {orphans[0]}.tar, which {orphans[0]}{_STATS} is about (and {len(orphans) - 1} more); copy it "
            "here again, or remove both and run img2dataset again"
        )
    if all(_NUMBER.fullmatch(name) for name in names):
        numbers = {int(name) for name in names}
        lacking = next((number for number in range(len(numbers)) if number not in numbers), None)
        if lacking is not None:
            raise FormatError(
                f"{folder}: lacks {lacking:0{len(shards[0].stem)}d}.tar, though there is {shards[-1].name}; run img2dataset "
                "again, or copy it here again. To do without it, give the tars names that are no plain numbers"
            )
    _check_others(folder, shards)
    return shards


def _check_others(folder: Path, shards: list[Path]) -> None:
    """Check that no shard is compressed or in a subfolder, where it would be missed."""
    for packed in sorted(folder.iterdir()):
        if re.fullmatch(r"(?i)\d+\.(tar\.\w+|tgz|tar)", packed.name) and packed not in shards:
            raise FormatError(f"{packed}: is not a plain .tar, so it would not be read; unpack or rename it")
    seen: set[tuple[int, int]] = set()
    for below, folders, files in os.walk(folder, followlinks=True):
        place = os.stat(below)
        if (place.st_dev, place.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        folders.sort()
        tar = next((name for name in sorted(files) if name.endswith(".tar")), None)
        if tar is not None and Path(below) != folder:
            raise FormatError(
                f"{Path(below) / tar}: shards are read from {folder} itself, not from folders in it; move it there under a "
                f"number of its own, with its {_STATS}, or out of {folder}"
            )


def _read(shard: Path, findings: Findings) -> Iterator[Example]:
    stats = shard.with_name(f"{shard.stem}{_STATS}")
    if not stats.is_file():
        raise FormatError(
            f"{shard}: has no {stats.name}: its download was interrupted; run img2dataset again"
        )
    counts = document(stats, Stats, "run img2dataset again")
    failed = counts.count - counts.successes
    if failed > 0:
        findings.note("links that could not be downloaded", f"{shard.name}: {failed}", failed)
    fix = f"delete it with {stats.name}, run img2dataset again"
    try:
        with SampleTar(shard, findings) as tar:
            # Cut off between two members, which the tar itself does not show.
            if len(tar.samples) < counts.successes:
                raise FormatError(
                    f"{shard}: holds {len(tar.samples)} samples where {stats.name} counts {counts.successes}"
                )
            for sample in tar.samples:
                yield from _example(tar, sample, findings)
    except FormatError as error:
        raise FormatError(f"{error}; {fix}") from error
    except OSError as error:
        raise FormatError(f"{shard}: cannot be read ({error}); {fix}") from error


def _example(tar: SampleTar, sample: Sample, findings: Findings) -> Iterator[Example]:
    kind = next((kind for kind in sample.files if kind in IMAGES), None)
    if kind is None:
        findings.note("samples without an image", sample.name)
        return
    caption = _caption(tar, sample, findings)
    text = said(caption, sample.name, findings, "empty captions") if caption is not None else ""
    if text:
        yield Example("train", (ImageSource(sample.name, tar.read(sample, kind)),), ({"text": text},))


def _caption(tar: SampleTar, sample: Sample, findings: Findings) -> str | None:
    """Read the caption of a sample; None if it cannot be read, which is then noted in ``findings``."""
    if "txt" in sample.files:
        content = tar.read(sample, "txt")
        text = content.decode("utf-8", errors="replace")
        if text.encode("utf-8", errors="replace") != content:
            findings.note(
                "captions with bytes that are not UTF-8, kept with U+FFFD in their place", sample.name
            )
        return text
    if "json" not in sample.files:
        return ""
    try:
        caption = parse_json(tar.read(sample, "json").decode("utf-8")).get("caption")
    except (ValueError, AttributeError):  # a damaged JSON file, or one that is not an object, has no caption
        caption = None
    if caption is not None and not isinstance(caption, str):
        findings.note("captions that are no text", sample.name)
        return None
    return caption or ""
