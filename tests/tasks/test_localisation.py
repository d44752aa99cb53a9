"""Named words, their boxes, and how well a map fits: cases worked out by hand."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import network, tokenizer

from mamo.data.batches.transforms import EvalTransform
from mamo.data.store.records import Prepared
from mamo.data.store.writer import Writer
from mamo.data.world.truth import SceneTruth
from mamo.jobs.localisation import LocalisationJob
from mamo.specs.ablation import ColumnSpec
from mamo.specs.finetune import LocalisationSpec
from mamo.specs.plan import make_plan
from mamo.specs.validity import of_column
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


def test_every_layer_with_maps_is_measured(tmp_path: Path, truth: SceneTruth) -> None:
    """The other layer's numbers are those of a task that reads it."""
    words = tokenizer(tmp_path / "words")
    buffer = io.BytesIO()
    noise = torch.randint(
        0, 255, (100, 200, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    Image.fromarray(noise.numpy()).save(buffer, "PNG")
    with Writer(tmp_path / "data", dataset="coco", kind="captions", store_size=32) as writer:
        image = writer.add_image("a.jpg", buffer.getvalue())
        for text in ("a cat and a white dog", "the clock", "a white dog by a cat"):
            writer.add_record("test", image=image, text=text)
    data = Prepared(tmp_path / "data")
    torch.manual_seed(1)
    net = network(words, fusion_layers=3)
    with torch.no_grad():  # larger weights, so that an untrained network's layers differ
        for parameter in net.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8)
    job = make_plan("smoke", ABLATIONS).scale.jobs["localisation"]
    both = []
    for layer in (1, 2):
        spec = job.model_copy(
            update={"layer": layer, "transform": job.transform.model_copy(update={"size": 32})}
        )
        assert isinstance(spec, LocalisationSpec)
        both.append(LocalisationTask(net, spec, words, EvalTransform(spec.transform), truth).test(data))
    first, second = (evaluation.metrics for evaluation in both)
    assert first["object_words"] == 3 and first["colour_words"] == 2
    for score in ("object_share", "object_pointing", "colour_share", "colour_pointing"):
        assert first[f"{score}_layer2"] == second[score] and second[f"{score}_layer1"] == first[score]
        assert first[f"chance/{score}_layer2"] == first[f"chance/{score}"]
    assert first["object_share"] != second["object_share"]
    assert both[0].items["share_layer2"] == both[1].items["share"]
    for name in first:
        asked = ColumnSpec(key="c", label="C", job="localisation", metric=name)
        assert not list(of_column(asked, job.model_copy(update={"layer": 1}), net.spec)), (
            "a table may show it"
        )
    strata = LocalisationJob().strata
    (stratum,) = strata("object_share_layer2", both[0].items, {}, first) or [None]
    assert stratum is not None and stratum.scores[stratum.counted].mean() == pytest.approx(
        second["object_share"]
    )
    assert strata("object_share_layer7", both[0].items, {}, first) is None, "no such layer was measured"


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
