"""Flickr8k (Hodosh et al., 2013) in its own layout: tokens, lists of file names, photos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mamo.data.examples import Example, Findings, FormatError, ImageSource, read_text, said
from mamo.data.releases.fields import stays_inside

LISTS = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
_ORIGIN = "it comes in Flickr8k_text.zip"


def read(root: Path, findings: Findings) -> Iterator[Example]:
    """Read ``flickr8k/Flickr8k_text`` and ``flickr8k/Flicker8k_Dataset``; one example per listed photo with
    captions.

    The release is not tidy: photos in no list, photos without captions and captions of files that do not exist are left
    out and noted.
    """
    text, photos = root / "flickr8k" / "Flickr8k_text", root / "flickr8k" / "Flicker8k_Dataset"
    captions = _captions(text / "Flickr8k.token.txt", findings)
    lists = {split: _lines(text / name) for split, name in LISTS.items()}
    present = {path.name for path in photos.iterdir()} if photos.is_dir() else set()
    listed = set().union(*lists.values())
    for name in sorted(present - listed):
        findings.note("photos in no split", name)
    for name in captions:
        if name not in present and name not in listed:
            findings.note("captions of a photo that does not exist", name, len(captions[name]))
    seen: set[str] = set()
    for split, names in lists.items():
        for name in names:
            if name in seen:
                findings.note("photos listed twice", name)
                continue
            seen.add(name)
            if not captions.get(name):
                findings.note("photos without a caption", name)
                continue
            records = tuple({"text": caption} for caption in captions[name])
            yield Example(split, (ImageSource(name, photos / name),), records)


def _lines(path: Path) -> list[str]:
    # Not splitlines(), which also splits at the vertical tabs and line separators of people's texts.
    lines = [line.strip() for line in read_text(path, _ORIGIN).split("\n")]
    for number, line in enumerate(lines, 1):
        if not stays_inside(line.partition("#")[0]):
            raise FormatError(f"{path}:{number}: '{line[:60]}' leads out of the folder of photos; {_ORIGIN}")
    return [line for line in lines if line]


def _captions(path: Path, findings: Findings) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    keys: set[str] = set()
    for number, line in enumerate(_lines(path), 1):
        key, tab, caption = line.partition("\t")
        name, mark, _ = key.rpartition("#")
        if not mark or not (tab or key == line):
            raise FormatError(
                f"{path}:{number}: expected 'photo.jpg#0<tab>caption', got '{line[:60]}'; {_ORIGIN}"
            )
        if key in keys:
            findings.note("captions numbered twice", key)
            continue
        keys.add(key)
        text = said(caption, key, findings, "empty captions")
        if text:
            found.setdefault(name, []).append(text)
    if not found:
        raise FormatError(f"{path}: holds no caption; {_ORIGIN}")
    return found
