"""Wrong releases: every file that a reader of ``mamo.data`` opens, wrong in one respect each."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bad_inputs import (
    BOX,
    FIELD,
    JSON,
    LONG,
    TEXT,
    Case,
    account,
    compared,
    field_cases,
    snapshot,
    text_cases,
    twice_cases,
)
from PIL import Image

SIZES = {
    "canvas": 64,
    "coco": {"train": 6, "restval": 1, "val": 2, "test": 3, "test2015": 2},
    "flickr30k": {"train": 3, "val": 1, "test": 2},
    "visual_genome": 4,
    "sbu": 4,
    "cc3m": 3,
    "nlvr2": {"train": 4, "dev": 4, "test": 4},
    "refcoco_plus": {"train": 3, "val": 2, "testA": 2, "testB": 2},
}
# What of the releases folder a data set reads.
FOLDERS = {
    "coco": ("coco",),
    "visual_genome": ("visual_genome", "coco", "refcoco+"),
    "visual_genome_qa": ("visual_genome", "coco"),
    "sbu": ("sbu",),
    "cc3m": ("cc3m",),
    "flickr30k": ("flickr30k",),
    "flickr8k": ("flickr8k",),
    "vqa2": ("vqa", "coco"),
    "nlvr2": ("nlvr2",),
    "refcoco_plus": ("refcoco+", "coco"),
}
LIMIT = 0.7  # share of images that a wrong release may lose, so that one image is no refusal


def write_clean(root: Path) -> None:
    """All releases, tiny and without a fault: the embedded world, and Flickr8k beside it."""
    from mamo.data.world.generate import write_world
    from mamo.specs.world import WorldSpec

    write_world(WorldSpec.model_validate(SIZES), root)
    photos, text = root / "flickr8k/Flicker8k_Dataset", root / "flickr8k/Flickr8k_text"
    photos.mkdir(parents=True)
    text.mkdir()
    for number, name in enumerate(("a", "b", "c", "d")):
        Image.new("RGB", (40, 30), (60 * number, 9, 99)).save(photos / f"{name}.jpg")
    lines = [f"{name}.jpg#{i}\tA {name} number {i} .\n" for name in ("a", "b", "c", "d") for i in (0, 1)]
    (text / "Flickr8k.token.txt").write_text("".join(lines))
    for split, names in {"train": "a.jpg\nb.jpg\n", "dev": "c.jpg\n", "test": "d.jpg\n"}.items():
        (text / f"Flickr_8k.{split}Images.txt").write_text(names)


class Releases:
    """Prepares wrong releases, and compares them with the clean one."""

    def __init__(self, clean: Path, work: Path) -> None:
        self.clean, self.work = clean, work
        self._clean: dict[str, tuple[Any, Any]] = {}

    def _prepared(self, dataset: str, root: Path, out: Path, limit: float | None) -> tuple[Any, Any]:
        from mamo.data.store.prepare import prepare

        manifest = prepare(dataset, root, out, store_size=32, missing_limit=limit)
        return snapshot(out), account(manifest)

    def verdict(self, case: Case) -> str:
        """What the reader makes of the wrong release; its exceptions go on to the caller."""
        if case.reader not in self._clean:
            out = self.work / f"clean-{case.reader}"
            self._clean[case.reader] = self._prepared(case.reader, self.clean, out, 0.0)
        root, out = self.work / "root", self.work / "out"
        for folder in (root, out):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in FOLDERS[case.reader]:
            shutil.copytree(self.clean / folder, root / folder)
        case.mutate(root)
        limit = case.options.get("limit", LIMIT)
        return compared(case, self._clean[case.reader], self._prepared(case.reader, root, out, limit))


def some(ways: dict[str, Any], *without: str) -> dict[str, Any]:
    """The ways to be wrong, but for those that are right here."""
    return {name: value for name, value in ways.items() if name not in without}


# A text may be any text: only these are wrong.
SAID = some(FIELD, "another text", "a path upwards", "an absolute path")
NUMBER = some(FIELD, "a whole number", "half a character", "a path upwards", "an absolute path", "minus one")
AREA = some(NUMBER, "a number")  # of a region, which only its rank depends on
NAME = FIELD


def _lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.splitlines()]


def _as_lines(values: list[Any]) -> bytes:
    from bad_inputs import dumped

    return "".join(dumped(value) + "\n" for value in values).encode()


def _pickled(value: Any) -> bytes:
    def floats(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("\ue000"):
            return float(value[1:].replace("1e999", "inf"))
        if isinstance(value, list):
            return [floats(v) for v in value]
        return {k: floats(v) for k, v in value.items()} if isinstance(value, dict) else value

    return pickle.dumps(floats(value), protocol=2)


def json_releases() -> Iterator[Case]:
    """Every JSON file as a whole, and every field that a reader uses."""
    coco = "coco/dataset_coco.json"
    yield from text_cases("coco", coco, JSON)
    for path, record, ways in (
        (("images",), "", some(FIELD)),
        (("images", 2, "filename"), "images[2]", NAME),
        (("images", 2, "filepath"), "images[2]", NAME),
        (("images", 2, "split"), "images[2]", NAME),
        (("images", 2, "sentences"), "images[2]", FIELD),
        (("images", 2, "sentences", 1), "images[2].sentences[1]", some(FIELD, "missing")),
        (("images", 2, "sentences", 1, "raw"), "images[2].sentences[1]", SAID),
        (("images", 2, "cocoid"), "images[2]", NUMBER),
    ):
        skipped = ("missing",) if path[-1] in (1, "cocoid") else ()
        yield from (
            c
            for c in field_cases("coco", coco, path, record, ways)
            if c.name.rsplit(" ", 1)[-1] not in skipped
        )
    yield from twice_cases("coco", coco, ("images",), "")

    yield from text_cases("flickr30k", "flickr30k/dataset_flickr30k.json", TEXT)
    yield from field_cases(
        "flickr30k", "flickr30k/dataset_flickr30k.json", ("images", 1, "filename"), "images[1]", NAME
    )
    yield from twice_cases("flickr30k", "flickr30k/dataset_flickr30k.json", ("images",), "")

    genome = "visual_genome"
    for file in ("image_data", "region_descriptions"):
        yield from text_cases(genome, f"visual_genome/{file}.json", TEXT)
    regions, questions, data = (
        f"visual_genome/{n}.json" for n in ("region_descriptions", "question_answers", "image_data")
    )
    yield from field_cases(genome, regions, (1, "id"), "entry 1", some(NUMBER, "a number"))
    yield from field_cases(genome, regions, (1, "regions"), "entry 1", FIELD)
    yield from field_cases(genome, regions, (1, "regions", 0, "phrase"), "entry 1.regions[0]", SAID)
    yield from field_cases(
        genome, regions, (1, "regions", 0, "width"), "entry 1.regions[0]", AREA | {"minus one": -1}
    )
    yield from field_cases(genome, data, (2, "image_id"), "entry 2", NUMBER)
    yield from field_cases(genome, data, (2, "coco_id"), "entry 2", some(NUMBER, "null"))
    yield from twice_cases(genome, regions, (), "")
    yield from twice_cases(genome, data, (), "entry")
    yield from text_cases("visual_genome_qa", questions, TEXT)
    for name, ways in (("question", SAID), ("answer", SAID), ("qa_id", some(NUMBER))):
        yield from field_cases("visual_genome_qa", questions, (1, "qas", 0, name), "entry 1.qas[0]", ways)
    yield from twice_cases("visual_genome_qa", questions, (1, "qas"), "")

    asked = "vqa/v2_OpenEnded_mscoco_train2014_questions.json"
    answered = "vqa/v2_mscoco_train2014_annotations.json"
    tested = "vqa/v2_OpenEnded_mscoco_test-dev2015_questions.json"
    for file in (asked, answered, tested):
        yield from text_cases("vqa2", file, TEXT)
    yield from field_cases("vqa2", asked, ("questions",), "", FIELD)
    yield from field_cases("vqa2", asked, ("questions", 4, "question"), "questions[4]", SAID)
    yield from field_cases("vqa2", asked, ("questions", 4, "question_id"), "questions[4]", NUMBER)
    yield from field_cases("vqa2", asked, ("questions", 4, "image_id"), "questions[4]", NUMBER)
    yield from field_cases("vqa2", answered, ("annotations", 4, "question_id"), "annotations[4]", NUMBER)
    yield from field_cases("vqa2", answered, ("annotations", 4, "answers"), "annotations[4]", FIELD)
    yield from field_cases(
        "vqa2", answered, ("annotations", 4, "answers", 3, "answer"), "annotations[4].answers[3]", ANSWER
    )
    yield from field_cases(
        "vqa2", answered, ("annotations", 4, "multiple_choice_answer"), "annotations[4]", CHOSEN
    )
    yield from twice_cases("vqa2", asked, ("questions",), "")
    yield from twice_cases("vqa2", answered, ("annotations",), "annotations")

    dev = "nlvr2/data/dev.json"
    yield from text_cases("nlvr2", dev, TEXT)
    lines = {"load": _lines, "dump": _as_lines}
    for name, ways in (("sentence", SAID), ("identifier", some(NAME)), ("label", some(FIELD, "true"))):
        yield from field_cases("nlvr2", dev, (1, name), "dev.json:2", ways, _lines, _as_lines)
    yield from field_cases(
        "nlvr2", "nlvr2/data/train.json", (0, "directory"), "train.json:1", some(NAME), _lines, _as_lines
    )
    yield from twice_cases("nlvr2", dev, (), "", **lines)

    instances, proposals = "refcoco+/instances.json", "refcoco+/dets.json"
    for file in (instances, proposals):
        yield from text_cases("refcoco_plus", file, TEXT)
    yield from field_cases("refcoco_plus", instances, ("images", 0, "width"), "images[0]", SIDE)
    yield from field_cases("refcoco_plus", instances, ("images", 0, "file_name"), "images[0]", NAME)
    yield from field_cases("refcoco_plus", instances, ("images", 0, "id"), "", NUMBER)
    yield from twice_cases("refcoco_plus", instances, ("images",), "images")
    yield from twice_cases("refcoco_plus", instances, ("annotations",), "annotations")
    yield from field_cases("refcoco_plus", proposals, (0, "image_id"), "entry 0", NUMBER)
    for case in field_cases("refcoco_plus", proposals, (0, "box"), "entry 0", some(BOX, "no size")):
        yield replace(case, kept=case.name.endswith("image"))  # the expressions keep their other proposals
    yield from _true_boxes(instances)
    refs = "refcoco+/refs(unc).p"
    how = {"load": pickle.loads, "dump": _pickled}
    for path, record, ways in (
        ((0, "ref_id"), "ref 0", NUMBER),
        ((0, "ann_id"), "", NUMBER),
        ((0, "image_id"), "", NUMBER),
        ((0, "split"), "ref 0", NAME),
        ((0, "sentences"), "ref 0", some(FIELD)),
        ((0, "sentences", 0, "sent"), "ref 0.sentences[0]", SAID),
    ):
        file = instances if not record else refs
        for case in field_cases("refcoco_plus", refs, path, record, ways, pickle.loads, _pickled):
            yield Case(
                case.reader,
                case.name,
                case.file if file == refs else "refcoco+",
                case.mutate,
                record,
                case.kept,
            )
    yield from twice_cases("refcoco_plus", refs, (), "ref", **how)


ANSWER = some(SAID, "an empty text")
CHOSEN = SAID
SIDE = some(NUMBER, "a number") | {"zero": 0, "minus one": -1}


def _true_boxes(instances: str) -> Iterator[Case]:
    """The box of a named object, which is not the first one of the file."""

    def place(root: Path) -> int:
        ref = pickle.loads((root / "refcoco+/refs(unc).p").read_bytes())[0]
        annotations = json.loads((root / instances).read_bytes())["annotations"]
        return next(i for i, annotation in enumerate(annotations) if annotation["id"] == ref["ann_id"])

    for name, box in some(BOX, "no size").items():

        def rewrite(root: Path, box: Any = box) -> None:
            from bad_inputs import dumped

            content = json.loads((root / instances).read_bytes())
            content["annotations"][place(root)]["bbox"] = box
            (root / instances).write_text(dumped(content))

        yield Case("refcoco_plus", f"a named box is {name}", instances, rewrite, "annotations[")


def encoded(form: str, size: tuple[int, int] = (64, 64), **options: Any) -> bytes:
    out = io.BytesIO()
    Image.radial_gradient("L").resize(size).convert("RGB").save(out, form, **options)
    return out.getvalue()


def _png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds none."""
    import zlib

    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head)) + b"\0" * 40
    )


def _text_bomb() -> bytes:
    """A PNG whose comment is 200 MB of spaces, packed into 200 kB."""
    import zlib

    data = encoded("PNG")
    chunk = b"zTXt" + b"Comment\0\0" + zlib.compress(b" " * (200 << 20), 9)
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return data[:33] + chunk + data[33:]


IMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda c: b"",
    "cut in half": lambda c: c[: len(c) // 2],
    "cut to its header": lambda c: c[:20],
    "without its last bytes": lambda c: c[:-30],
    "a page of a server": lambda c: b"<html><script>alert(1)</script></html>",
    "a text": lambda c: b"a dog",
    "zeros": lambda c: bytes(len(c)),
    "PostScript": lambda c: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(touched) (w) file closefile\nshowpage\n",
    "a drawing with a script": lambda c: b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
    "a pickle": lambda c: pickle.dumps([1, 2, 3]),
    "a bomb of 4 gigapixels": lambda c: _png_header(65_000, 65_000),
    "a bomb of 150 megapixels": lambda c: _png_header(15_000, 10_000),
    "no pixels": lambda c: _png_header(0, 10),
    "a bomb in a comment": lambda c: _text_bomb(),
    "a header with a huge size": lambda c: c.replace(b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 64, 64),
                                                     b"\xff\xc0\x00\x11\x08" + struct.pack(">HH", 65500, 65500)),
}  # fmt: skip


def images() -> Iterator[Case]:
    """One photo of a data set, wrong as a file."""
    for reader, pattern in (
        ("coco", "coco/train2014/*.jpg"),
        ("flickr8k", "flickr8k/Flicker8k_Dataset/a.jpg"),
        ("nlvr2", "nlvr2/images/dev/*-img0.png"),
    ):
        for name, change in IMAGES.items() if reader == "coco" else list(IMAGES.items())[:6]:

            def rewrite(root: Path, change: Any = change, pattern: str = pattern) -> None:
                path = sorted(root.glob(pattern))[0]
                path.write_bytes(change(path.read_bytes()))

            yield Case(reader, f"a photo is {name}", pattern, rewrite)
            if name == "empty":
                yield Case(
                    reader,
                    f"a photo is {name}, none may be lost",
                    FOLDERS[reader][0],
                    rewrite,
                    options={"limit": 0.0},
                )

        def remove(root: Path, pattern: str = pattern) -> None:
            sorted(root.glob(pattern))[0].unlink()

        def folder(root: Path, pattern: str = pattern) -> None:
            path = sorted(root.glob(pattern))[0]
            path.unlink()
            path.mkdir()

        def pipe(root: Path, pattern: str = pattern) -> None:
            _pipe(sorted(root.glob(pattern))[0])

        def endless(root: Path, pattern: str = pattern) -> None:
            _endless(sorted(root.glob(pattern))[0])

        yield Case(reader, "a photo is a pipe", pattern, pipe)
        yield Case(reader, "a photo is a terabyte of nothing", pattern, endless)
        yield Case(reader, "a photo is missing", pattern, remove)
        yield Case(reader, "a photo is a folder", pattern, folder)


def flickr8k() -> Iterator[Case]:
    """Flickr8k's text files."""
    tokens, listed = (
        "flickr8k/Flickr8k_text/Flickr8k.token.txt",
        "flickr8k/Flickr8k_text/Flickr_8k.trainImages.txt",
    )
    yield from text_cases("flickr8k", tokens, TEXT)
    for name, change in TEXT.items():
        if name in ("a byte of Latin-1", "UTF-16", "a byte-order mark", "a flipped bit"):
            yield from (case for case in text_cases("flickr8k", listed, {name: change}) if case.name == name)
    for name, line in {
        "ten megabytes": f"a.jpg#2\t{LONG}\n",
        "a path upwards": "../../../etc/passwd#0\tA secret .\n",
        "an absolute path": "/etc/passwd#0\tA secret .\n",
        "no number": "a.jpg\tNo number .\n",
        "a number twice": "a.jpg#1\tAnother .\n",
        "a NUL character": "a.jpg#2\tA \0 .\n",
        "no caption": "a.jpg#2\t \n",
    }.items():

        def add(root: Path, line: str = line) -> None:
            with (root / tokens).open("a", encoding="utf-8") as file:
                file.write(line)

        record = ":9" if name in ("a path upwards", "an absolute path", "no number") else ""
        yield Case("flickr8k", f"a line more: {name}", tokens, add, record)
    for name, line in {
        "a path upwards": "../../a.jpg\n",
        "twice": "a.jpg\n",
        "of another split": "d.jpg\n",
    }.items():

        def enlist(root: Path, line: str = line) -> None:
            with (root / listed).open("a") as file:
                file.write(line)

        # A photo of two splits is counted, and stays where it was listed first.
        yield Case("flickr8k", f"a photo more: {name}", listed, enlist, kept=name == "of another split")


def _repacked(path: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    change(members)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def _member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def _renamed(prefix: str) -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        for info, _ in members:
            info.name = prefix + info.name

    return change


def _rewritten(suffix: str, content: bytes, drop: str = "") -> Callable[[list[Any]], None]:
    """The first sample's file of a kind with other content; the file of the kind ``drop`` goes."""

    def change(members: list[Any]) -> None:
        first = members[0][0].name.split(".")[0]
        for i, (info, _) in enumerate(members):
            if info.name == f"{first}.{suffix}":
                info.size = len(content)
                members[i] = (info, content)
        members[:] = [m for m in members if not (drop and m[0].name == f"{first}.{drop}")]

    return change


def _linked(kind: bytes, target: str) -> Callable[[list[Any]], None]:
    def change(members: list[Any]) -> None:
        name = members[0][0].name
        members[0] = _member(name, type=kind, linkname=target)

    return change


def _duplicate(members: list[Any]) -> None:
    members += [_member(info.name, content) for info, content in members[:3]]


def _double(members: list[Any]) -> None:
    members.insert(1, _member(members[0][0].name, members[-3][1]))


def _sparse(path: Path) -> None:
    """A member of 1 TiB that takes no room: GNU's form of files with holes."""
    raw = bytearray(path.read_bytes())
    info = tarfile.TarInfo("99.jpg")
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[156:157] = b"S"
    header[386:482] = b"0" * 11 + b"\0" + b"0" * 11 + b"\0" + b"\0" * 72  # no piece of data at all
    header[483:495] = b"20000000000000"[:12]
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    end = len(raw.rstrip(b"\0"))
    end = -(-end // 512) * 512
    path.write_bytes(bytes(raw[:end]) + bytes(header) + b"\0" * 1024)


def _huge(path: Path) -> None:
    """The first member says that it has 8 GiB."""
    raw = bytearray(path.read_bytes())
    raw[124:136] = b"77777777777\0"
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    path.write_bytes(bytes(raw))


def _says(size: int, kind: bytes = b"0") -> Callable[[Path], None]:
    """The first member says that it has so many bytes, in the binary form for large numbers, and that it is of a kind."""

    def wreck(path: Path) -> None:
        raw = bytearray(path.read_bytes())
        raw[124:136] = (b"\x80" if size >= 0 else b"\xff") + size.to_bytes(11, "big", signed=True)
        raw[156:157] = kind
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
        path.write_bytes(bytes(raw))

    return wreck


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _endless(path: Path) -> None:
    """A terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(1 << 40)


def _by_kind(members: list[Any]) -> None:
    """As `tar cf 00000.tar *.jpg *.json *.txt` writes them."""
    members.sort(key=lambda member: member[0].name.rsplit(".", 1)[-1])


def _dotted(members: list[Any]) -> None:
    for info, _ in members:
        key, suffix = info.name.rsplit(".", 1)
        info.name = f"{key}.{suffix.upper()}"


def _boundary(path: Path) -> None:
    """Cut off between two members, where a tar could as well end."""
    with tarfile.open(path) as tar:
        offset = tar.getmembers()[6].offset
    path.write_bytes(path.read_bytes()[:offset])


TARS: dict[str, Callable[[list[Any]], None]] = {
    "names lead upwards": _renamed("../../../"),
    "names are absolute": _renamed("/etc/"),
    "names lie in a folder": _renamed("00000/"),
    "a photo is a link": _linked(tarfile.SYMTYPE, "/etc/passwd"),
    "a photo is a hard link": _linked(tarfile.LNKTYPE, "../secret"),
    "a photo is a device": _linked(tarfile.CHRTYPE, ""),
    "a photo is a pipe": _linked(tarfile.FIFOTYPE, ""),
    "a photo is text": _rewritten("jpg", b"a dog"),
    "a photo is empty": _rewritten("jpg", b""),
    "a caption of ten megabytes": _rewritten("txt", LONG.encode()),
    "a caption in Latin-1": _rewritten("txt", "un café".encode("latin-1")),
    "a caption in UTF-16": _rewritten("txt", "a dog".encode("utf-16")),
    "a caption with a NUL": _rewritten("txt", b"a\0dog"),
    "an empty caption": _rewritten("txt", b" \n"),
    "no caption but a damaged note": _rewritten("json", b'{"caption": "cut', "txt"),
    "no caption but a number": _rewritten("json", b'{"caption": 5}', "txt"),
    "no caption but a deep note": _rewritten("json", b"[" * 50_000, "txt"),
    "no caption but a note of NaN": _rewritten("json", b'{"caption": NaN}', "txt"),
    "a sample twice": _duplicate,
    "a file twice": _double,
    "files by kind": _by_kind,
    "kinds in capitals": _dotted,
    "a file of no kind": lambda members: members.append(_member("x.npy", b"1")),
    "a caption in a photo's name": lambda members: members.append(_member("x.y.jpg", b"1")),
}
FILES: dict[str, Callable[[Path], None]] = {
    "empty": lambda p: p.write_bytes(b"") and None,
    "cut in half": lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]) and None,
    "cut between two members": _boundary,
    "cut in its first header": lambda p: p.write_bytes(p.read_bytes()[:300]) and None,
    "a page of a server": lambda p: p.write_bytes(b"<html>404</html>" * 100) and None,
    "compressed": lambda p: p.write_bytes(__import__("gzip").compress(p.read_bytes())) and None,
    "a bomb of 1 TiB": _sparse,
    "a member that says 8 GiB": _huge,
    "a member that says 2^60 bytes": _says(1 << 60),
    "a member that says less than nothing": _says(-1024),
    "a long name of 2^60 bytes": _says(1 << 60, b"L"),
    "an extended header of 2^60 bytes": _says(1 << 60, b"x"),
    "a global header of less than nothing": _says(-512, b"g"),
    "two tars": lambda p: p.write_bytes(p.read_bytes() * 2) and None,
    "a pipe": _pipe,
    "a terabyte of nothing": _endless,
    "a damaged checksum": lambda p: (
        p.write_bytes(p.read_bytes()[:150] + b"9" + p.read_bytes()[151:]) and None
    ),
    "a zip": lambda p: zipfile.ZipFile(p, "w").close(),
}


# What lies beside a shard, and would not be read.
BESIDE: dict[str, Callable[[Path], Any]] = {
    "a note on another shard": lambda p: p.with_name("00001_stats.json").write_text("{}"),
    "another number": lambda p: (
        p.rename(p.with_name("00001.tar"))
        and p.with_name("00000_stats.json").rename(p.with_name("00001_stats.json"))
    ),
    "a shard in a folder": lambda p: shutil.copytree(p.parent, p.parent / "more"),
    "a packed shard": lambda p: p.with_name("00001.tar.gz").write_bytes(b""),
}


def shards() -> Iterator[Case]:
    """Tars of img2dataset and their statistics."""
    for reader in ("sbu", "cc3m"):
        tar, stats = f"{reader}/00000.tar", f"{reader}/00000_stats.json"
        every = reader == "sbu"
        for name, change in TARS.items() if every else list(TARS.items())[:4]:
            kept = name in ("a caption in Latin-1",)
            yield Case(reader, name, tar, lambda root, c=change, t=tar: _repacked(root / t, c), kept=kept)  # type: ignore[misc]
        for name, wreck in FILES.items() if every else list(FILES.items())[:3]:
            yield Case(reader, name, tar, lambda root, w=wreck, t=tar: w(root / t))  # type: ignore[misc]
        for name, add in BESIDE.items() if every else ():
            yield Case(reader, name, reader, lambda root, a=add, t=tar: a(root / t))  # type: ignore[misc]
        yield from text_cases(reader, stats, JSON if every else {"empty": TEXT["empty"]})
        if every:
            yield from field_cases(
                reader, stats, ("successes",), "", some(NUMBER) | {"minus one": -1, "more": 99}
            )
            yield from field_cases(reader, stats, ("count",), "", some(NUMBER) | {"minus one": -1})


def _zip(
    root: Path, archive: str, members: dict[str, bytes], pack: int = zipfile.ZIP_STORED, links: bool = False
) -> Path:
    path = root / archive
    with zipfile.ZipFile(path, "w", pack) as packed:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = pack
            if links:
                info.external_attr = 0o120777 << 16
            packed.writestr(info, content)
    return path


def zips() -> Iterator[Case]:
    """A release that is still packed."""
    folder, listing = "coco/train2014", "coco/dataset_coco.json"

    def packed(change: Callable[[Path, dict[str, bytes]], None]) -> Callable[[Path], None]:
        def rewrite(root: Path) -> None:
            members = {f"train2014/{p.name}": p.read_bytes() for p in sorted((root / folder).iterdir())}
            shutil.rmtree(root / folder)
            change(root, members)

        return rewrite

    def note(change: Callable[[Path, bytes], None]) -> Callable[[Path], None]:
        def rewrite(root: Path) -> None:
            content = (root / listing).read_bytes()
            (root / listing).unlink()
            change(root, content)

        return rewrite

    name = "coco/train2014.zip"

    def damaged(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        raw[120:140] = b"\xff" * 20
        path.write_bytes(bytes(raw))

    def lying(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        entry = raw.find(b"PK\x01\x02")
        raw[entry + 24 : entry + 28] = struct.pack("<I", 0xFFFFFFF0)
        path.write_bytes(bytes(raw))

    def more(root: Path, members: dict[str, bytes]) -> None:
        """50 MB of zeros, as which 1,000 bytes are given."""
        path = _zip(root, name, members | {next(iter(members)): bytes(50 << 20)}, zipfile.ZIP_DEFLATED)
        raw = bytearray(path.read_bytes())
        entry = raw.find(b"PK\x01\x02")
        raw[entry + 24 : entry + 28] = struct.pack("<I", 1000)
        path.write_bytes(bytes(raw))

    def encrypted(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members)
        raw = bytearray(path.read_bytes())
        entry = raw.find(b"PK\x01\x02")
        raw[entry + 8] |= 1
        raw[6] |= 1
        path.write_bytes(bytes(raw))

    def links(root: Path, members: dict[str, bytes]) -> None:
        _zip(root, name, dict.fromkeys(members, b"/etc/passwd"), links=True)

    def cut(root: Path, members: dict[str, bytes]) -> None:
        path = _zip(root, name, members)
        path.write_bytes(path.read_bytes()[:-90])

    def fewer(root: Path, members: dict[str, bytes]) -> None:
        _zip(root, name, dict(list(members.items())[1:]))

    for words, change in {
        "packed": lambda root, members: _zip(root, name, members),
        "packed, links": links,
        "packed, damaged": damaged,
        "packed, a size that is not true": lying,
        "packed, more than its size says": more,
        "packed, a pipe": lambda root, members: os.mkfifo(root / name),
        "packed, encrypted": encrypted,
        "packed, one missing": fewer,
        "packed, no archive": lambda root, members: (root / name).write_bytes(b""),
        "packed, cut": cut,
    }.items():
        file = "coco" if words in ("packed, cut", "packed, no archive") else name
        yield Case("coco", words, file, packed(change))  # type: ignore[arg-type]
    for words, prefix in (
        ("upwards", "../../../"),
        ("from the root", "/tmp/"),
        ("through another folder", "x/"),
    ):

        def renamed(root: Path, members: dict[str, bytes], prefix: str = prefix) -> None:
            _zip(root, name, {prefix + key: content for key, content in members.items()})

        yield Case("coco", f"packed, names lead {words}", name, packed(renamed))

    archive, inner = "coco/caption_datasets.zip", "dataset_coco.json"

    def spaces(root: Path, content: bytes) -> None:
        bomb = b'{"images": [' + b" " * (150 << 20) + b"]}"
        _zip(root, archive, {inner: bomb}, zipfile.ZIP_DEFLATED)

    def short(root: Path, content: bytes) -> None:
        path = _zip(root, archive, {inner: content})
        path.write_bytes(path.read_bytes()[:500])

    for words, note_change, file in (
        ("packed", lambda root, content: _zip(root, archive, {inner: content}), archive),
        ("packed, a bomb of spaces", spaces, archive),
        ("packed, a link", lambda root, _: _zip(root, archive, {inner: b"/etc/passwd"}, links=True), inner),
        ("packed, twice", _two_notes, archive),
        ("packed, cut", short, archive),
        ("packed, damaged bzip2", _broken_bzip2, archive),
    ):
        yield Case("coco", f"{words} (captions)", file, note(note_change))  # type: ignore[arg-type]


def _two_notes(root: Path, content: bytes) -> None:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(root / "coco/caption_datasets.zip", "w") as packed:
        warnings.simplefilter("ignore", UserWarning)
        packed.writestr("dataset_coco.json", content)
        packed.writestr("dataset_coco.json", content.replace(b"train", b"test"))


def _broken_bzip2(root: Path, content: bytes) -> None:
    path = _zip(root, "coco/caption_datasets.zip", {"dataset_coco.json": content}, zipfile.ZIP_BZIP2)
    raw = bytearray(path.read_bytes())
    raw[60:90] = b"\0" * 30
    path.write_bytes(bytes(raw))


class _Calls:
    """Pickles into a call."""

    def __init__(self, function: Any, *words: Any) -> None:
        self.function, self.words = function, words

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.words


class _Has:
    def __init__(self) -> None:
        self.__dict__ = {"sent": "a dog"}


def pickles() -> Iterator[Case]:
    """``refs(unc).p`` as somebody who means harm would write it: each would leave the file ``owned`` beside the release."""
    import os

    import numpy as np

    refs = "refcoco+/refs(unc).p"
    touch = 'open("owned", "w")'
    command = "touch owned"
    for name, content in {
        "REDUCE of os.system": pickle.dumps([_Calls(os.system, command)], protocol=2),
        "REDUCE of eval": pickle.dumps([_Calls(eval, touch)], protocol=4),
        "GLOBAL and REDUCE, protocol 0": f"cos\nsystem\n(S'{command}'\ntR.".encode(),
        "GLOBAL of eval": f"c__builtin__\neval\n(S'{touch}'\ntR.".encode(),
        "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch owned\x85R.",
        "INST": f"(S'{command}'\nios\nsystem\n.".encode(),
        "OBJ": f"(cos\nsystem\nS'{command}'\no.".encode(),
        "NEWOBJ": b"\x80\x02cbuiltins\nobject\n)\x81.",
        "BUILD": pickle.dumps([_Has()], protocol=2),
        "EXT1": b"\x80\x02]\x82\x01a.",
        "EXT4": b"\x80\x02]\x84\x01\x00\x00\x00a.",
        "a persistent id": b"\x80\x02]X\x05\x00\x00\x00ownedQa.",
        "a persistent id, protocol 0": b"(lp0\nPowned\na.",
        "a numpy number": pickle.dumps([{"ref_id": np.int64(3)}], protocol=2),
        "a numpy array": pickle.dumps(np.arange(3), protocol=4),
        "a buffer out of band": b"\x80\x05]\x97a.",
        "a length of 8 exabytes": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
        "a frame that is longer than the file": b"\x80\x04\x95" + struct.pack("<Q", 1 << 40) + b"].",
        "a list in itself": b"(lp0\ng0\na.",
        "a dict of lists as keys": b"\x80\x02}](K\x01e]s.",
        "nothing on the stack": b"\x80\x02.",
        "an unknown opcode": b"\x80\x02\xff.",
        "a protocol of the future": b"\x80\x63].",
        "empty": b"",
        "a text": b"refs",
        "a dict": pickle.dumps({"a": 1}),
        "a number": pickle.dumps(3),
        "an empty list": pickle.dumps([]),
        "a list of numbers": pickle.dumps([1, 2]),
        "lists 100,000 deep": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    }.items():
        yield Case(
            "refcoco_plus", f"a pickle: {name}", refs, lambda root, c=content: (root / refs).write_bytes(c)
        )  # type: ignore[misc]

    def cut(root: Path) -> None:
        (root / refs).write_bytes((root / refs).read_bytes()[:-40])

    yield Case("refcoco_plus", "a pickle: cut", refs, cut)


def cases() -> Iterator[Case]:
    """All wrong releases."""
    for make in (json_releases, images, flickr8k, shards, zips, pickles):
        yield from make()
