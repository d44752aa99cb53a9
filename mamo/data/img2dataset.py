"""Web data sets as img2dataset leaves them: tars of ``KEY.jpg``, ``KEY.txt``, ``KEY.json``."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings, FormatError, ImageSource, parse_json, said
from mamo.data.fields import document

MAX_MEMBER = 100 << 20  # bytes of a file in a tar; img2dataset shrinks photographs to far below
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
        counts = document(stats, "run img2dataset again")
        count, successes = (counts.integer(name) if name in counts else 0 for name in ("count", "successes"))
        if count < 0 or successes < 0:
            raise counts.wrong(f"counts {count} links and {successes} successes")
        failed = count - successes
        if failed > 0:
            findings.note("links that could not be downloaded", f"{shard.name}: {failed}", failed)
        mend = f"delete it with {stats.name}, run img2dataset again"
        keys: set[str] = set()
        try:
            yield from _samples(shard, keys, findings)
        except (tarfile.TarError, ValueError, OverflowError, EOFError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{shard}: damaged tar ({error}); {mend}") from error
        except OSError as error:
            raise FormatError(f"{shard}: cannot be read ({error}); {mend}") from error
        if len(keys) < successes:  # cut off between two members, which a tar does not show
            raise FormatError(
                f"{shard}: holds {len(keys)} samples where {stats.name} counts {successes}; {mend}"
            )


def _samples(shard: Path, keys: set[str], findings: Findings) -> Iterator[Example]:
    """The samples of a shard; their keys are put into ``keys``."""
    key, parts = "", {}  # type: str, dict[str, bytes]
    with tarfile.open(shard, "r|") as tar:
        for member in tar:
            # Or the headers of the whole shard would pile up.
            tar.members = []  # type: ignore[attr-defined]
            if not member.isfile():
                if not member.isdir():
                    findings.note("links and devices in a tar", f"{shard.stem}/{member.name[:80]}")
                continue
            stem, _, suffix = Path(member.name).name.partition(".")
            name, suffix = f"{shard.stem}/{stem}", suffix.lower()
            if stem != key:
                yield from _example(shard, key, parts, findings)
                key, parts = stem, {}
                if stem in keys:
                    findings.note("samples given twice", name)
                    key = ""
            if not key:
                continue
            keys.add(key)
            if suffix in parts:
                findings.note("second files of one kind in a sample", f"{name}.{suffix}")
            elif member.size > MAX_MEMBER or member.issparse():
                findings.note(f"files of more than {MAX_MEMBER >> 20} MiB or with holes", f"{name}.{suffix}")
            else:
                content = tar.extractfile(member)
                parts[suffix] = content.read() if content is not None else b""
    yield from _example(shard, key, parts, findings)


def _example(shard: Path, key: str, parts: dict[str, bytes], findings: Findings) -> Iterator[Example]:
    if not parts:
        return
    name = f"{shard.stem}/{key}"
    image = next((parts[suffix] for suffix in parts if suffix in IMAGE_SUFFIXES), None)
    if image is None:
        findings.note("samples without an image", name)
        return
    caption = _caption(parts, name, findings)
    text = said(caption, name, findings, "empty captions") if caption is not None else ""
    if not text:
        return
    yield Example("train", (ImageSource(name, image),), ({"text": text},))


def _caption(parts: dict[str, bytes], name: str, findings: Findings) -> str | None:
    """The caption of a sample; None where none can be read, which ``findings`` then say."""
    if "txt" in parts:
        text = parts["txt"].decode("utf-8", errors="replace")
        if text.encode("utf-8", errors="replace") != parts["txt"]:
            findings.note("captions with bytes that are not UTF-8, kept with U+FFFD in their place", name)
        return text
    try:
        caption = parse_json(parts["json"].decode("utf-8")).get("caption") if "json" in parts else None
    except (ValueError, AttributeError):  # a JSON file that is damaged, or is no object, holds no caption
        caption = None
    if caption is not None and not isinstance(caption, str):
        findings.note("captions that are no text", name)
        return None
    return caption or ""
