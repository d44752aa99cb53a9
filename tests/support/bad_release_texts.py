"""Wrong releases: JSON, pickled tables and lists of captions, one field wrong in each."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from bad_inputs import BOX, FIELD, JSON, LONG, TEXT, Case, field_cases, text_cases, twice_cases


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
