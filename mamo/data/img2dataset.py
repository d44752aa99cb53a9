"""Web data sets as img2dataset leaves them: tars of ``KEY.jpg``, ``KEY.txt``, ``KEY.json``."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mamo.data.examples import Example, Findings, FormatError, ImageSource, clean, read_json

IMAGE_SUFFIXES = {"jpg", "jpeg", "png", "webp"}


def read_shards(folder: Path, findings: Findings, part: int = 0, parts: int = 1) -> Iterator[Example]:
    """One training example per downloaded image, in the order of the shards; one tar member at a time is in
    memory.

    Links that could not be downloaded are noted from the shards' ``_stats.json``.

    Args:
        part, parts: only the shards of this part of the release, counted from 0: consecutive ones.

    Raises:
        FormatError: no tars, or a shard whose download was interrupted.
    """
    shards = sorted(folder.glob("*.tar"))
    if not shards:
        raise FormatError(f"{folder}: no *.tar; download it with img2dataset --output_format webdataset")
    for shard in shards[part * len(shards) // parts : (part + 1) * len(shards) // parts]:
        stats = shard.with_name(f"{shard.stem}_stats.json")
        if not stats.is_file():
            raise FormatError(
                f"{shard}: has no {stats.name}: its download was interrupted; run img2dataset again"
            )
        counts = read_json(stats, "run img2dataset again")
        failed = counts.get("count", 0) - counts.get("successes", 0)
        if failed > 0:
            findings.note("links that could not be downloaded", f"{shard.name}: {failed}", failed)
        try:
            yield from _samples(shard, findings)
        except tarfile.TarError as error:
            raise FormatError(
                f"{shard}: damaged tar ({error}); delete it with {stats.name}, run img2dataset again"
            ) from error


def _samples(shard: Path, findings: Findings) -> Iterator[Example]:
    key, parts = "", {}  # type: str, dict[str, bytes]
    with tarfile.open(shard, "r|") as tar:
        for member in tar:
            # Or the headers of the whole shard would pile up.
            tar.members = []  # type: ignore[attr-defined]
            if not member.isfile():
                continue
            stem, _, suffix = Path(member.name).name.partition(".")
            if stem != key:
                yield from _example(shard, key, parts, findings)
                key, parts = stem, {}
            content = tar.extractfile(member)
            parts[suffix.lower()] = content.read() if content is not None else b""
    yield from _example(shard, key, parts, findings)


def _example(shard: Path, key: str, parts: dict[str, bytes], findings: Findings) -> Iterator[Example]:
    if not parts:
        return
    name = f"{shard.stem}/{key}"
    image = next((parts[suffix] for suffix in parts if suffix in IMAGE_SUFFIXES), None)
    if image is None:
        findings.note("samples without an image", name)
        return
    if "txt" in parts:
        caption = parts["txt"].decode("utf-8", errors="replace")
    else:
        caption = _caption(parts.get("json", b"{}"))
    text = clean(caption)
    if not text:
        findings.note("empty captions", name)
        return
    yield Example("train", (ImageSource(name, image),), ({"text": text},))


def _caption(content: bytes) -> Any:
    try:
        return json.loads(content).get("caption")
    except (ValueError, AttributeError):  # a JSON file that is damaged, or is no object, holds no caption
        return None
