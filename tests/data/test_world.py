"""The embedded world, judged by the files it writes and by its scene graphs."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import tarfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops
from world_reader import read_phrases, read_statement

from mamo.data.world.captions import training_captions
from mamo.data.world.generate import write_world
from mamo.data.world.grammar import COCO, FLICKR, RELATIONS
from mamo.data.world.kinds import BY_NAME, TINTS
from mamo.data.world.oracle import (
    Description,
    Mention,
    SceneIndex,
    Statement,
    clear_relations,
    fitting,
    referents,
    true_of,
)
from mamo.data.world.referring import intersection_over_union
from mamo.data.world.regions import describe_regions
from mamo.data.world.render import box, render
from mamo.data.world.scene import Scene, Thing, changed_positions, draw_scene, draw_twin, stream
from mamo.data.world.web import CC3M, SBU, web_caption
from mamo.specs.world import WorldSpec

COUNTS = WorldSpec().objects
SPEC = WorldSpec.model_validate(
    {
        "coco": {"train": 40, "restval": 4, "val": 16, "test": 40, "test2015": 8},
        "flickr30k": {"train": 16, "val": 8, "test": 30},
        "visual_genome": 12,
        "sbu": 10,
        "cc3m": 10,
        "nlvr2": {"train": 64, "dev": 16, "test": 16},
        "refcoco_plus": {"train": 20, "val": 20, "testA": 20, "testB": 20},
    }
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world") / "world"
    write_world(SPEC, root)
    return root


def digests(root: Path) -> dict[str, str]:
    files = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def shown(root: Path) -> dict[tuple[str, str], dict[str, Any]]:
    lines = (json.loads(line) for line in (root / "world/scenes.jsonl").read_text().splitlines())
    return {(line["dataset"], line["key"]): line for line in lines}


def scene_of(line: dict[str, Any]) -> Scene:
    things = tuple(
        Thing(o["kind"], o["tint"], o["size"], o["row"], o["column"], (0, 0)) for o in line["objects"]
    )
    return Scene(things, line["background"], 0)


def karpathy(root: Path, dataset: str) -> list[dict[str, Any]]:
    return json.loads((root / dataset / f"dataset_{dataset}.json").read_text())["images"]


def test_the_same_spec_writes_the_same_bytes(world: Path, tmp_path: Path) -> None:
    write_world(SPEC, tmp_path / "again")
    assert digests(world) == digests(tmp_path / "again")


def test_a_set_does_not_depend_on_the_size_of_another(world: Path, tmp_path: Path) -> None:
    larger = SPEC.model_copy(update={"coco": SPEC.coco.model_copy(update={"train": 42}), "sbu": 12})
    write_world(larger, tmp_path / "larger")
    before, after = digests(world), digests(tmp_path / "larger")
    images = [name for name in before if name.endswith((".jpg", ".png"))]
    assert len(images) > 300
    assert all(before[name] == after[name] for name in images)
    write_world(SPEC.model_copy(update={"seed": 2}), tmp_path / "other")
    other = digests(tmp_path / "other")
    assert not any(before[name] == other.get(name) for name in images)


def test_the_world_refuses_a_folder_in_use(world: Path) -> None:
    with pytest.raises(FileExistsError, match="empty folder"):
        write_world(SPEC, world)


def test_the_reader_understands_relations() -> None:
    statement = read_statement("On the grass, a cat that is tiny and red with a huge dog on its left.")
    assert statement.background == "grass"
    assert statement.mentions == (
        Mention(Description("cat", "red", "small")),
        Mention(Description("dog", None, "large")),
    )
    assert statement.relations == ((1, "left of", 0),)
    assert read_statement("two fish that are blue above an apple").relations == ((0, "above", 1),)


@pytest.mark.parametrize("dataset", ["coco", "flickr30k"])
def test_captions_are_true_and_those_of_galleries_of_one_image_only(world: Path, dataset: str) -> None:
    lines = shown(world)
    entries = karpathy(world, dataset)
    scenes = {entry["filename"]: scene_of(lines[dataset, entry["filename"]]) for entry in entries}
    related = 0
    for entry in entries:
        own = scenes[entry["filename"]]
        texts = [sentence["raw"] for sentence in entry["sentences"]]
        assert len(set(texts)) == 5
        for text in texts:
            statement = read_statement(text)
            assert statement.mentions or statement.background, text
            assert true_of(statement, own), (text, own)
            related += len(statement.relations)
            assert 6 <= len(text.rstrip(" .").split()) <= 14, text
            if entry["split"] in ("val", "test"):
                gallery = [e["filename"] for e in entries if e["split"] == entry["split"]]
                assert [name for name in gallery if true_of(statement, scenes[name])] == [
                    entry["filename"]
                ], text
    assert related > len(entries)  # the reader does see relations


def test_no_generated_caption_is_false() -> None:
    told = total = 0
    for number in range(400):
        rng = stream(5, "captions", number)
        scene = draw_scene(rng, 24, 4, COUNTS)
        twin = draw_twin(rng, scene, 24)
        assert 1 <= len(changed_positions(scene, twin)) <= 2
        for voice in (COCO, FLICKR):
            for text, statement in training_captions(rng, scene, voice, twin):
                assert true_of(statement, scene)
                assert true_of(read_statement(text), scene), (text, scene)
                told += not true_of(statement, twin)
                total += 1
        for text, statement, _ in describe_regions(
            rng, scene, [box(t, 192, 4) for t in scene.things], 192, 5
        ):
            assert true_of(statement, scene), text
    assert told / total >= 0.7


def test_web_captions_are_as_wrong_as_asked() -> None:
    def wrong(source: Any, noise: float) -> float:
        false = 0
        for number in range(400):
            rng = stream(5, "web", number)
            scene = draw_scene(rng, 24, 4, COUNTS)
            false += not true_of(web_caption(rng, scene, source, noise, 24)[1], scene)
        return false / 400

    assert wrong(SBU, 0.0) == wrong(CC3M, 0.0) == 0
    assert 0.25 < wrong(SBU, 0.3) < 0.36
    assert 0.1 < wrong(CC3M, 0.3) < 0.2


def test_training_images_come_as_twins(world: Path) -> None:
    lines = shown(world)
    names = [entry["filename"] for entry in karpathy(world, "coco") if entry["split"] == "train"]
    for first, second in zip(names[::2], names[1::2], strict=True):
        a, b = scene_of(lines["coco", first]), scene_of(lines["coco", second])
        assert a.background == b.background and a != b
        assert 1 <= len(changed_positions(a, b)) <= 2


def test_the_oracle_decides_hand_made_cases() -> None:
    cat = Thing("cat", "red", "small", 0, 0, (0, 0))
    dog = Thing("dog", "blue", "large", 0, 2, (0, 0))
    apple = Thing("apple", "red", "large", 3, 0, (0, 0))
    scene = Scene((cat, dog, apple), "sand", 0)
    a_cat, a_dog, red = (Mention(Description(kind)) for kind in ("cat", "dog", "apple"))
    assert true_of(Statement((a_cat, a_dog), ((0, "left of", 1),)), scene)
    assert not true_of(Statement((a_cat, a_dog), ((0, "right of", 1),)), scene)
    assert true_of(Statement((a_cat, red), ((0, "above", 1),), "sand"), scene)
    assert not true_of(Statement((a_cat,), (), "snow"), scene)
    assert not true_of(Statement((Mention(Description("cat", "blue")),)), scene)  # blue is the dog
    assert true_of(Statement((Mention(Description(tint="red"), 2), a_dog)), scene)
    assert not true_of(
        Statement((Mention(Description(tint="red"), 2), a_cat)), scene
    )  # the cat is one of the two
    assert not true_of(Statement((a_cat, a_cat)), scene)
    assert not true_of(Statement((a_cat, a_dog), ((0, "next to", 1),)), scene)
    assert referents(Statement((Mention(Description(tint="red")),)), scene) == [cat, apple]
    assert clear_relations(apple, dog) == ["below"]
    assert SceneIndex([scene, Scene((dog,), "sand", 0)]).true_places(Statement((a_dog,), (), "sand")) == [
        0,
        1,
    ]


def test_boxes_hold_the_drawn_objects(world: Path) -> None:
    for (dataset, _), line in shown(world).items():
        if dataset not in ("coco", "refcoco_plus"):
            continue
        image = np.asarray(Image.open(world / line["file"]).convert("RGB"), dtype=float)
        assert image.shape == (SPEC.canvas, SPEC.canvas, 3)
        cell = SPEC.canvas // SPEC.grid
        for thing in line["objects"]:
            x, y, width, height = thing["box"]
            assert thing["column"] * cell <= x and x + width <= (thing["column"] + 1) * cell
            assert thing["row"] * cell <= y and y + height <= (thing["row"] + 1) * cell
            inside = image[y : y + height, x : x + width]
            assert (inside.max(-1) < 110).mean() > 0.03, (line["key"], thing)  # the black outline
            near = np.abs(inside - np.array(TINTS[thing["tint"]])).max(-1) < 75
            assert near.mean() > 0.05, (line["key"], thing)


def test_boxes_are_tight() -> None:
    for number in range(60):
        scene = draw_scene(stream(5, "boxes", number), 32, 4, COUNTS, least=2)
        thing, *others = scene.things
        without = render(replace(scene, things=tuple(others)), 192, 4)
        difference = ImageChops.difference(render(scene, 192, 4), without).convert("L")
        left, top, right, bottom = difference.point(lambda value: 255 * (value > 8)).getbbox() or (0, 0, 0, 0)
        actual, drawn = box(thing, 192, 4), (left, top, right - left, bottom - top)
        assert max(abs(a - b) for a, b in zip(actual, drawn, strict=True)) <= 2, thing


def test_questions_are_well_posed_and_rightly_answered(world: Path) -> None:
    lines = {
        int(re.findall(r"\d+", k)[-1]): scene_of(v)
        for (d, k), v in shown(world).items()
        if d in ("coco", "vqa2")
    }
    checked: Counter[str] = Counter()
    for part in ("train2014", "val2014", "test-dev2015"):
        questions = json.loads((world / f"vqa/v2_OpenEnded_mscoco_{part}_questions.json").read_text())[
            "questions"
        ]
        annotations = json.loads((world / f"vqa/v2_mscoco_{part}_annotations.json").read_text())[
            "annotations"
        ]
        assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
        for question, annotation in zip(questions, annotations, strict=True):
            answer, text = annotation["multiple_choice_answer"], question["question"].lower()
            answers = Counter(a["answer"] for a in annotation["answers"])
            assert (
                answers.most_common(1)[0][0] == answer
                and answers[answer] >= 8
                and sum(answers.values()) == 10
            )
            assert text.startswith(annotation["question_type"])
            openings = ("what color", "what size", "how many", "is there", "what is the", "is the")
            kind = next((opening for opening in openings if text.startswith(opening)), None)
            if kind is None:
                continue
            scene = lines[question["image_id"]]
            whats = [what for _, _, _, what in read_phrases(text, numbered=False)]
            fits = fitting(whats[0], scene)
            if kind == "how many":
                assert answer == str(len(fits)), text
            elif kind == "is there":
                assert answer == ("yes" if fits else "no"), text
            else:
                assert len(fits) == 1, text
                if kind == "is the" and len(whats) == 2:
                    (relation,) = [r for r, words in RELATIONS.items() if words[0] in text]
                    other = fitting(whats[1], scene)
                    holds = relation in clear_relations(fits[0], other[0])
                    assert len(other) == 1 and answer == ("yes" if holds else "no")
                elif kind == "is the":
                    assert answer == ("yes" if fits[0].tint == text.rstrip("?").split()[-1] else "no"), text
                else:
                    actual = {
                        "what color": fits[0].tint,
                        "what size": fits[0].size,
                        "what is the": fits[0].kind,
                    }[kind]
                    assert answer == actual, text
            checked[kind] += 1
    assert len(checked) == 6 and sum(checked.values()) > 300


def test_statements_about_pairs_are_balanced_and_rightly_judged(world: Path) -> None:
    lines = {key: scene_of(line) for (dataset, key), line in shown(world).items() if dataset == "nlvr2"}
    checked = 0
    for split in ("train", "dev", "test1"):
        labels: dict[str, Counter[str]] = defaultdict(Counter)
        for entry in map(json.loads, (world / f"nlvr2/data/{split}.json").read_text().splitlines()):
            labels[entry["sentence"]][entry["label"]] += 1
            stem = entry["identifier"].rpartition("-")[0]
            folder = world / "nlvr2/images" / split / str(entry.get("directory", ""))
            assert all((folder / f"{stem}-img{side}.png").is_file() for side in (0, 1))
            match = re.fullmatch(
                r"The (left|right) image (?:contains|shows) (an? .*|something .*)\.", entry["sentence"]
            )
            if match and "more" not in match[2]:
                scene = lines[f"{stem}-img{int(match[1] == 'right')}"]
                what = Description(tint=match[2].split()[1]) if match[2].startswith("something") else None
                what = what or next(read_phrases(match[2]))[3]
                assert str(bool(fitting(what, scene))) == entry["label"], entry
                checked += 1
        assert all(count["True"] == count["False"] for count in labels.values())
    assert checked > 20


def test_expressions_name_one_object_and_proposals_find_it(world: Path) -> None:
    lines = {
        key: line for (dataset, key), line in shown(world).items() if dataset in ("coco", "refcoco_plus")
    }
    refs = pickle.loads((world / "refcoco+/refs(unc).p").read_bytes())
    instances = json.loads((world / "refcoco+/instances.json").read_text())
    boxes = {a["id"]: a["bbox"] for a in instances["annotations"]}
    names = {image["id"]: image["file_name"] for image in instances["images"]}
    proposals = defaultdict(list)
    for detection in json.loads((world / "refcoco+/dets.json").read_text()):
        x, y, width, height = detection["box"]
        assert 0 <= x and 0 <= y and x + width <= SPEC.canvas and y + height <= SPEC.canvas
        proposals[detection["image_id"]].append(detection["box"])
    listed = {entry["filename"] for entry in karpathy(world, "coco")}
    reached, images = 0, defaultdict(set)
    for ref in refs:
        line = lines[names[ref["image_id"]]]
        scene = scene_of(line)
        assert len(scene.things) > 1
        place = [thing["box"] for thing in line["objects"]].index(boxes[ref["ann_id"]])
        for sentence in ref["sentences"]:
            assert referents(read_statement(sentence["sent"]), scene) == [scene.things[place]], (
                sentence,
                scene,
            )
            assert not re.search(
                r"\b(left|right|above|below|top|bottom)\b", sentence["sent"].replace("top hat", "hat")
            )
        if ref["split"].startswith("test"):
            assert (BY_NAME[scene.things[place].kind].category == "animal") == (ref["split"] == "testA")
        assert (line["key"] in listed) == (ref["split"] == "train")
        images[ref["split"]].add(ref["image_id"])
        actual = max(
            intersection_over_union(boxes[ref["ann_id"]], proposal) for proposal in proposals[ref["image_id"]]
        )
        reached += actual >= 0.5
    assert {split: len(actual) for split, actual in images.items()} == dict.fromkeys(
        ("train", "val", "testA", "testB"), 20
    )
    assert 0.85 < reached / len(refs) < 1


def test_web_shards_are_img2datasets(world: Path) -> None:
    import pyarrow.parquet

    with tarfile.open(world / "sbu/00000.tar") as tar:
        names = tar.getnames()
    assert names[:3] == ["000000000.jpg", "000000000.txt", "000000000.json"] and len(names) == 3 * SPEC.sbu
    table = pyarrow.parquet.read_table(world / "sbu/00000.parquet")
    assert table.num_rows == SPEC.sbu == json.loads((world / "sbu/00000_stats.json").read_text())["successes"]


def test_a_grid_that_does_not_divide_the_canvas_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of grid"):
        WorldSpec(canvas=190)
