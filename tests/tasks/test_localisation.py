"""Named words, their boxes, and how well a map fits: cases worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny import network, tokenizer

from mamo.data.world.truth import SceneTruth
from mamo.specs.finetune import LocalisationSpec
from mamo.specs.plan import make_plan
from mamo.tasks.localisation import LocalisationTask, _summary, localise

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def thing(kind: str, tint: str, box: list[int]) -> dict[str, object]:
    return {"kind": kind, "tint": tint, "size": "small", "row": 0, "column": 0, "box": box}


@pytest.fixture
def truth(tmp_path: Path) -> SceneTruth:
    """A red cat, a red alarm clock, and two dogs, one of them white."""
    (tmp_path / "world").mkdir()
    scene = {
        "dataset": "coco", "split": "test", "key": "a.jpg", "file": "coco/a.jpg", "width": 200, "height": 100,
        "objects": [thing("cat", "red", [0, 0, 50, 50]), thing("clock", "red", [100, 50, 20, 10]),
                    thing("dog", "white", [150, 0, 50, 50]), thing("dog", "blue", [150, 50, 50, 50])],
    }  # fmt: skip
    other = scene | {"dataset": "flickr30k", "key": "b.jpg"}
    (tmp_path / "world" / "scenes.jsonl").write_text("\n".join(map(json.dumps, [scene, other])) + "\n")
    return SceneTruth(tmp_path, "coco")


def test_only_what_is_beyond_doubt_names_an_object(truth: SceneTruth) -> None:
    words = "A red kitten near two dogs , a white dog and an Alarm clock".split()
    actual = {(named.words, named.what, named.box) for named in truth.named(words, "a.jpg")}
    # 'red' fits two objects and 'dog' two; 'dogs' is a plural; 'kitten' is another name of the cat; 'alarm clock' is one name.
    assert actual == {
        ((2,), "object", (0.0, 0.0, 0.25, 0.5)),
        ((8,), "colour", (0.75, 0.0, 1.0, 0.5)),
        ((12, 13), "object", (0.5, 0.5, 0.6, 0.6)),
    }
    assert "a.jpg" in truth and "b.jpg" not in truth


def test_the_share_inside_a_box_and_the_pointing_game() -> None:
    """Where the map is even the share is the box's area; a single hot patch hits the box that holds its centre."""
    even, box = torch.ones(4, 4), (0.0, 0.0, 0.5, 0.25)
    assert localise(even, box, 64)[0] == pytest.approx(1 / 8)
    hot = torch.zeros(4, 4)
    hot[1, 2] = 1.0
    share, hit = localise(hot, (0.5, 0.25, 0.75, 0.5), 64)
    assert hit and 0.5 < share < 1.0
    far, missed = localise(hot, (0.0, 0.75, 0.25, 1.0), 64)
    assert not missed and far < 0.001
    everywhere = localise(hot, (0.0, 0.0, 1.0, 1.0), 64)
    assert everywhere == (pytest.approx(1.0), True)
    assert localise(torch.zeros(4, 4), (0.0, 0.0, 1.0, 1.0), 64) == (0.0, False)


def test_metrics_are_means_over_the_words_of_a_sort() -> None:
    items = {"what": ["object", "colour", "object"], "share": [10.0, 50.0, 30.0], "hit": [0.0, 100.0, 100.0],
             "area": [4.0, 6.0, 8.0]}  # fmt: skip
    assert _summary(items) == {
        "object_share": 20.0, "chance/object_share": 6.0, "object_pointing": 50.0, "chance/object_pointing": 6.0,
        "object_words": 2.0,
        "colour_share": 50.0, "chance/colour_share": 6.0, "colour_pointing": 100.0, "chance/colour_pointing": 6.0,
        "colour_words": 1.0,
    }  # fmt: skip


def test_the_last_layer_is_refused(tmp_path: Path, truth: SceneTruth) -> None:
    words = tokenizer(tmp_path / "words")
    job = make_plan("smoke", ABLATIONS).scale.jobs["localisation"]
    assert isinstance(job, LocalisationSpec)
    with pytest.raises(ValueError, match="last fusion layer"):
        LocalisationTask(network(words), job.model_copy(update={"layer": 2}), words, lambda jpeg: jpeg, truth)  # type: ignore[arg-type]


def test_words_are_found_again_among_their_sub_words(tmp_path: Path) -> None:
    words = tokenizer(tmp_path)
    text = "A purple key, under an Orange lamp"
    ids, _ = words.encode([text], 16)
    tokens = words.tokens(ids[0])
    actual = words.words(text, 16)
    assert [word for word, _ in actual][:4] == ["A", "purple", "key", ","]
    for word, places in actual[:3] + actual[4:]:  # the vocabulary has no comma
        assert "".join(tokens[place].removeprefix("##") for place in places) == word.lower()
    assert [place for _, places in actual for place in places] == list(
        range(1, 1 + sum(len(p) for _, p in actual))
    )
    cut = words.words(text, 5)
    assert cut == [
        (word, [place for place in places if place < 4]) for word, places in actual if places[0] < 4
    ]
