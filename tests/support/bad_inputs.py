"""Inputs that are wrong in one respect each, made from clean ones, and the verdict on what a reader does with them.

A reader may load a wrong input as if it were the clean one, refuse it with file, record and reason, or leave something out and
say so. Everything else is a fault: a bare exception, a record that is gone or changed without a word, a reader that hangs.
"""

from __future__ import annotations

import hashlib
import json
import random
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IDENTICAL, REFUSED, LEFT_OUT = "identical", "refused", "left out, counted"
OUTCOMES = (IDENTICAL, REFUSED, LEFT_OUT)
MEMORY = 4 << 30  # bytes that a reader may take beyond what the process holds


class Silent(AssertionError):
    """A reader dropped or changed something without a word."""


@dataclass(frozen=True)
class Case:
    """One wrong input.

    Attributes:
        reader: what reads it.
        name: what is wrong with it.
        file: the wrong file, which a refusal must name.
        mutate: makes the clean file (or folder) wrong.
        record: what a refusal must name beside the file; '' for the file as a whole.
        kept: whether what is wrong may stay in a changed form, so long as it is counted.
    """

    reader: str
    name: str
    file: str
    mutate: Callable[[Path], None]
    record: str = ""
    kept: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.reader}: {self.file}: {self.name}"


def refusal(case: Case, error: Exception) -> str:
    """The verdict on a refusal.

    Raises:
        Silent: it does not say which file, which record or why.
    """
    message = str(error)
    names = (
        [case.file.rsplit("/", 1)[-1], *case.record.split("|")]
        if case.record
        else [case.file.rsplit("/", 1)[-1]]
    )
    lacking = [name for name in names if name not in message]
    if lacking or len(message) < len(names[0]) + 10:
        raise Silent(f"{case.id}: the refusal does not name {lacking}: {message[:300]}") from error
    if len(message) > 4000:
        raise Silent(f"{case.id}: a message of {len(message)} characters helps nobody") from error
    return REFUSED


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let what takes much more memory than its input deserves fail with a MemoryError, which no reader may pass on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


# What can be wrong with a whole text file.


def _insert(content: bytes, piece: bytes) -> bytes:
    """``piece`` inside the first word of a quoted text, or in the middle where there is none."""
    place = content.find(b"raw") + 8 if b'"raw"' in content else len(content) // 2
    return content[:place] + piece + content[place:]


def _flip(content: bytes, seed: int) -> bytes:
    """A bit of the first half turned over, so that no padding at the end is hit."""
    changed = bytearray(content)
    place = random.Random(seed).randrange(len(changed) // 2)
    changed[place] ^= 0x80  # no ASCII character any more
    return bytes(changed)


def _gzip(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, mtime=0)


TEXT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda c: b"",
    "white space only": lambda c: b" \n\t\n",
    # Not between two lines: what is left would be a whole file.
    "cut in half": lambda c: c[: len(c) // 2 + 7],
    "a byte of Latin-1": lambda c: _insert(c, b"\xe9"),
    "UTF-16": lambda c: c.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda c: c.decode().encode("utf-16-le"),
    "a byte-order mark": lambda c: b"\xef\xbb\xbf" + c,
    "a NUL byte": lambda c: _insert(c, b"\0"),
    "a page of a server": lambda c: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "compressed": _gzip,
    "a flipped bit": lambda c: _flip(c, 1),
}
JSON: dict[str, Callable[[bytes], bytes]] = TEXT | {
    "nested 100,000 deep": lambda c: b"[" * 100_000 + b"]" * 100_000,
    "an object of objects 50,000 deep": lambda c: b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a list": lambda c: b"[]",
    "an object": lambda c: b"{}",
    "a list of a number": lambda c: b"[3]",
    "a number": lambda c: b"3",
    "a text": lambda c: b'"images"',
    "null": lambda c: b"null",
    "NaN": lambda c: b"NaN",
    "a number of 5,000 digits": lambda c: b"9" * 5000,
    "a comma at the end": lambda c: c.rstrip()[:-1] + b"," + c.rstrip()[-1:],
}


def text_cases(reader: str, file: str, ways: Mapping[str, Callable[[bytes], bytes]]) -> Iterator[Case]:
    """A text file, wrong as a whole: its bytes, its absence, a folder in its place."""
    for name, change in ways.items():

        def rewrite(root: Path, change: Callable[[bytes], bytes] = change) -> None:
            path = root / file
            path.write_bytes(change(path.read_bytes()))

        yield Case(reader, name, file, rewrite)

    def remove(root: Path) -> None:
        (root / file).unlink()

    def folder(root: Path) -> None:
        (root / file).unlink()
        (root / file).mkdir()

    yield Case(reader, "missing", file, remove)
    yield Case(reader, "a folder", file, folder)


# What can be wrong with one field of a record.

LONG = "a dog " * 1_700_000  # ten megabytes
_RAW = "\ue000"  # marks JSON that no Python value writes
FIELD: dict[str, Any] = {
    "null": None,
    "a number": 7.5,
    "a whole number": 3,
    "minus one": -1,
    "true": True,
    "a list": [1],
    "an object": {"a": 1},
    "an empty text": "",
    "another text": "abc",
    "a long number": 10**30,
    "NaN": f"{_RAW}NaN",
    "infinity": f"{_RAW}1e999",
    "ten megabytes": LONG,
    "a NUL character": "a\0dog",
    "half a character": "a dog \ud83d",
    "a path upwards": "../../../etc/passwd",
    "an absolute path": "/etc/passwd",
}
BOX: dict[str, Any] = {
    "NaN": [f"{_RAW}NaN", 1, 5, 5],
    "infinite": [1, 1, f"{_RAW}1e999", 5],
    "a negative size": [1, 1, -5, 5],
    "no size": [1, 1, 0, 0],
    "outside the image": [5000, 5000, 5, 5],
    "left of the image": [-50, 0, 20, 20],
    "three numbers": [1, 1, 5],
    "five numbers": [1, 1, 5, 5, 5],
    "texts": ["a", "b", "c", "d"],
    "an object": {"x": 1},
    "null": None,
    "a text": "1,1,5,5",
}


def dumped(value: Any) -> str:
    """JSON in which marked texts stand as they are."""
    import re

    return re.sub(r'"\\ue000([^"]*)"', r"\1", json.dumps(value))


def _at(document: Any, path: Sequence[str | int]) -> Any:
    for step in path:
        document = document[step]
    return document


def field_cases(
    reader: str,
    file: str,
    path: Sequence[str | int],
    record: str,
    ways: Mapping[str, Any],
    load: Callable[[bytes], Any] = json.loads,
    dump: Callable[[Any], bytes] = lambda value: dumped(value).encode(),
) -> Iterator[Case]:
    """One field of a file, missing or of another value.

    Args:
        path: keys and places that lead to the field.
        record: how a refusal names the record.
    """

    def case(name: str, change: Callable[[Any], None]) -> Case:
        def rewrite(root: Path) -> None:
            document = load((root / file).read_bytes())
            change(_at(document, path[:-1]))
            (root / file).write_bytes(dump(document))

        where = "/".join(map(str, path))
        return Case(reader, f"{where} {name}", file, rewrite, record, kept="half a character" in name)

    def remove(holder: Any) -> None:
        del holder[path[-1]]

    yield case("missing", remove)
    for name, value in ways.items():

        def put(holder: Any, value: Any = value) -> None:
            holder[path[-1]] = value

        yield case(f"is {name}" if not name.startswith("is") else name, put)


def twice_cases(reader: str, file: str, path: Sequence[str | int], record: str, **how: Any) -> Iterator[Case]:
    """A record of a list that stands in it twice: the same again, and beside it under the number of another."""
    load, dump = how.get("load", json.loads), how.get("dump", lambda value: dumped(value).encode())

    def again(root: Path) -> None:
        document = load((root / file).read_bytes())
        records = _at(document, path)
        records.append(json.loads(json.dumps(records[0])))
        (root / file).write_bytes(dump(document))

    yield Case(reader, f"{'/'.join(map(str, path)) or 'entry'}: one twice", file, again, record)


# Prepared data sets, compared.


def snapshot(out: Path) -> dict[str, Counter[str]]:
    """Split -> its records, each with its images' keys, sizes and bytes in the place of their rows."""
    from mamo.data.store.records import Prepared

    prepared = Prepared(out)
    images = [
        f"{prepared.images.key(i)} {prepared.images.size(i)} {hashlib.sha256(prepared.images.jpeg(i)).hexdigest()}"
        for i in range(len(prepared.images))
    ]
    counts: dict[str, Counter[str]] = {}
    for split in prepared.manifest["splits"]:
        records: Counter[str] = Counter()
        for record in prepared.records(split):
            for row in ("image", "image2"):
                if row in record:
                    record[row] = images[record[row]]
            records[json.dumps(record, sort_keys=True)] += 1
        counts[split] = records
    return counts


def account(manifest: Mapping[str, Any]) -> Counter[str]:
    """Return what a manifest says was left out or changed: reason -> how many."""
    counts = Counter({reason: entry["count"] for reason, entry in manifest["left_out"].items()})
    counts["missing"], counts["unreadable"] = len(manifest["missing"]), len(manifest["unreadable"])
    return counts


def compared(case: Case, clean: tuple[Any, Any], got: tuple[Any, Any]) -> str:
    """The verdict on a preparation that went through.

    Args:
        clean, got: snapshot and account of the clean release and of the wrong one.

    Raises:
        Silent: a record was dropped or changed and nothing says so.
    """
    (before, said_before), (after, said) = clean, got
    lost = sum(((before[split] - after[split]) for split in before), Counter[str]())
    new = sum(((after[split] - before[split]) for split in before), Counter[str]())
    more = said - said_before
    if not lost and not new and not more:
        return IDENTICAL
    changed = {json.loads(record)["image"] for record in new}
    if new and not (case.kept and sum(more.values()) >= len(changed)):
        raise Silent(f"{case.id}: {len(new)} records are new or changed: {next(iter(new))[:300]}")
    images = {json.loads(record)["image"] for record in lost}
    if sum(more.values()) < min(len(images), sum(lost.values())):
        raise Silent(
            f"{case.id}: {sum(lost.values())} records of {len(images)} images are gone, the account says {dict(more)}"
        )
    return LEFT_OUT
