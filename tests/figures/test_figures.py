"""Figures that models draw: which examples, which words and patches, and what a page says of them."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from mamo.cli.main import main
from mamo.data.store.images import StoredImage
from mamo.data.store.records import Prepared, PreparedError
from mamo.data.store.writer import Writer
from mamo.drawing.draw import draw_figure, draw_small, lay_out_drawing
from mamo.drawing.layouts import _words_per_line, excerpt
from mamo.drawing.overlay import hottest_values, overlay, scaled
from mamo.figures.examples import FUNCTION_WORDS, choose_examples, draw_patches, draw_word
from mamo.figures.maps import hidden_things
from mamo.figures.publish import read_maps, write_maps
from mamo.reporting.figure_pages import alt_text, figure_digest, figure_page, maps_path
from mamo.reporting.pages import pages_of
from mamo.runs.run import RunError
from mamo.show_figure import show_figure
from mamo.specs.figure import FigureSpec, read_figure
from mamo.specs.overrides import SpecError
from mamo.specs.plan import make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def jpeg(colour: str = "grey", size: int = 64) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Twelve images with three captions each."""
    path = tmp_path_factory.mktemp("data") / "coco"
    return prepared(path, [(f"{i}.jpg", [f"caption {i} {j}" for j in range(3)]) for i in range(12)])


def prepared(path: Path, images: list[tuple[str, list[str]]]) -> Prepared:
    with Writer(path, dataset="coco", kind="captions", store_size=64) as writer:
        for key, texts in images:
            row = writer.add_image(key, StoredImage(jpeg(), 64, 64))
            for text in texts:
                writer.add_record("test", image=row, text=text)
    return Prepared(path)


def test_examples_are_drawn_by_the_seed_one_for_each_image(data: Prepared) -> None:
    first = choose_examples(data, "test", 5, seed=3)
    assert first == choose_examples(data, "test", 5, seed=3)
    assert len({example.key for example in first}) == 5
    assert [example.place for example in first] == [0, 1, 2, 3, 4]
    assert first[:3] == choose_examples(data, "test", 3, seed=3), "a longer figure begins like a shorter one"
    assert [e.key for e in first] != [e.key for e in choose_examples(data, "test", 5, seed=4)]


def test_images_and_texts_of_ones_own_choice(data: Prepared) -> None:
    chosen = choose_examples(data, "test", 5, seed=3, images=["7.jpg", "2.jpg"], texts=["a blue dog"] * 2)
    assert [(example.key, example.text) for example in chosen] == [
        ("7.jpg", "a blue dog"),
        ("2.jpg", "a blue dog"),
    ]
    assert choose_examples(data, "test", 5, seed=3, images=["7.jpg"])[0].text == "caption 7 0"
    with pytest.raises(
        SpecError,
        match=".no.jpg. is not a file here, nor an image of coco, split .test.*12 images are called 0.jpg",
    ):
        choose_examples(data, "test", 5, seed=3, images=["no.jpg"])


def test_a_masked_word_names_something() -> None:
    words = "A red cat on the grass .".split()
    drawn = {words[draw_word(words, seed, place)] for seed in range(20) for place in range(5)}
    assert drawn == {"red", "cat", "grass"} and not drawn & FUNCTION_WORDS
    assert draw_word(["on", "the"], 0, 0) in (0, 1), "where nothing is named, any word will do"


def test_masked_patches_are_those_that_an_object_touches() -> None:
    # On a grid of 4 x 4: inside the patch of row 1, column 2; and across the first two patches of the last row.
    assert draw_patches(4, [(0.55, 0.3, 0.7, 0.45)], 0, 0) == [6]
    assert draw_patches(4, [(0.1, 0.8, 0.4, 0.95)], 0, 0) == [12, 13]
    # A rim of a hundredth of the image is no touch.
    assert draw_patches(4, [(0.55, 0.3, 0.755, 0.45)], 0, 0) == [6]
    for place in range(20):
        square = draw_patches(14, [], 5, place)
        rows, columns = {p // 14 for p in square}, {p % 14 for p in square}
        assert len(square) == 16 and len(rows) == len(columns) == 4 and max(rows) - min(rows) == 3
    assert len({tuple(draw_patches(14, [], 5, place)) for place in range(20)}) > 5


def test_heat_keeps_its_zero_and_its_place() -> None:
    heat = [0.0] * 16
    heat[6] = 0.02
    fine = scaled(heat, 4, 80, 40)
    row, column = divmod(int(fine.argmax()), 80)
    assert (row // 10, column // 20) == (1, 2) and fine.max() == pytest.approx(1.0, abs=0.02)
    assert fine[30:, :10].max() == 0.0 and fine.min() == 0.0
    np.testing.assert_allclose(scaled([0.3] * 16, 4, 80, 40), 1.0, atol=1e-6)
    np.testing.assert_allclose(scaled([0.1] * 16, 4, 80, 40, top=0.4), 0.5, atol=1e-6)
    picture = np.full((40, 80, 3), 0.5, dtype=np.float32)
    hot, cold = overlay(picture, heat, 4)[15, 50].astype(int), overlay(picture, heat, 4)[35, 5].astype(int)
    assert hot.sum() > cold.sum() + 200, "hotter is lighter"
    assert np.ptp(overlay(picture, [0.0] * 16, 4)[..., 0]) == 0


def test_maps_that_are_compared_have_one_scale() -> None:
    """A word without signal is faint beside one with it, in whichever model; full stops do not count."""

    def shown(method: str, *maps: dict[str, Any]) -> dict[str, Any]:
        examples = [{"words": ["red", "cat", "."], "models": models} for models in maps]
        return {"method": method, "examples": examples}

    first = {"a": {"maps": [[0.1], [0.4], [9.0]]}, "b": {"maps": [[0.2], [0.1], [0.0]]}}
    second = {"a": {"maps": [[0.01], [0.02], [0.0]]}, "b": {"maps": [[0.03], [0.0], [0.0]]}}
    assert hottest_values(shown("words", first, second, {})) == [0.4, 0.03, 0.0]
    alone = [{"a": {"map": [0.1, 0.5]}}, {"a": {"map": [0.0, 0.05]}}]
    assert hottest_values(shown("masked_words", *alone)) == [0.5, 0.5], (
        "one map per image: the images are compared"
    )
    picture = np.full((40, 40, 3), 0.5, dtype=np.float32)
    light = [int(overlay(picture, [value], 1, 0.4).max()) for value in (0.0, 0.02, 0.1, 0.4)]
    assert light == sorted(light) and len(set(light)) == 4


def test_what_masked_patches_hide_is_named() -> None:
    things = [
        {"kind": "turtle", "tint": "pink", "box": (0.5, 0.25, 0.75, 0.5)},
        {"kind": "key", "tint": "red", "box": (0.7, 0.2, 1.0, 0.5)},
    ]
    assert hidden_things(things, [6], 4) == ["pink turtle"], "of the key, a fifth is covered"
    assert hidden_things(things, [6, 7], 4) == ["pink turtle", "red key"]
    assert hidden_things(things, [], 4) == [] and hidden_things([], [6], 4) == []


def test_titles_stand_nearer_to_their_own_images_than_to_the_row_above() -> None:
    values = CASES["grounding"]
    figure = lay_out_drawing(values | {"examples": values["examples"] * 4}, "Title")
    height = figure.get_size_inches()[1]
    figure.canvas.draw()
    edges = sorted({(1 - axes.get_position().y1, 1 - axes.get_position().y0) for axes in figure.axes})
    dots = height * figure.dpi
    titles = [text for text in figure.texts if text.get_text().startswith("“")]
    labels = [text for text in figure.texts if "IoU" in text.get_text()]
    assert len(edges) == 2 and len(titles) == 4
    box = titles[-1].get_window_extent()
    own = dots * (1 - edges[1][0]) - 0  # upper edge of the second row's images, from below
    above = min(label.get_window_extent().y0 for label in labels[:4])
    assert 0 <= box.y0 - own < above - box.y1


def test_words_leave_no_third_of_the_sheet_empty() -> None:
    assert _words_per_line([8], 7) == 4 and _words_per_line([5], 7) == 5
    assert _words_per_line([8, 9], 7) in (4, 5) and _words_per_line([14], 7) == 7
    figure = lay_out_drawing(CASES["words"], "Title")
    assert max(axes.get_position().x1 for axes in figure.axes) > 0.97


def test_an_excerpt_shows_three_words_that_name_something() -> None:
    values = CASES["words"]
    more = {**values, "examples": values["examples"] * 2}
    short = excerpt(more)
    (shown,) = short["examples"]
    assert len(shown["shown"]) == 3 and 2 in shown["shown"], "the word with a box is among them"
    assert 5 not in shown["shown"], "no punctuation"
    assert len(excerpt(CASES["grounding"] | {"examples": [{}] * 5})["examples"]) == 2


def test_a_drawing_is_described_in_words() -> None:
    assert alt_text(CASES["grounding"]).startswith("t, ALBEF-style and MAMO: “A $red$ cat")


def example(words: list[str], **more: Any) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(jpeg('teal')).decode()}"
    return {
        "image": "a.jpg",
        "picture": url,
        "width": 64,
        "height": 64,
        "text": " ".join(words),
        "words": words,
    } | more


def values(method: str, *examples: dict[str, Any], models: int = 2) -> dict[str, Any]:
    names = [("albef_style", "ALBEF-style (ITC+ITM+MLM)"), ("mamo", "MAMO")][-models:]
    return {
        "figure": "figure1", "scale": "smoke", "method": method, "title": "t", "caption": "c", "layer": 1, "grid": 2,
        "models": [{"key": k, "label": v, "run": f"pretrain/{k}", "outcome": "converged"} for k, v in names],
        "examples": list(examples),
    }  # fmt: skip


HEAT = [0.0, 1.0, 0.5, 0.0]
WORDS = ["A", "$red$", "cat", "under_the", "[MASK]", "."]
CASES: dict[str, dict[str, Any]] = {
    "words": values(
        "words",
        example(WORDS, named=[{"words": [2], "what": "object", "box": [0, 0, 0.5, 0.5]}], models={
            key: {"maps": [HEAT] * 5 + [[0.0] * 4], "matched": 0.9, "fits": [{"share": 0.25, "hit": True}]}
            for key in ("albef_style", "mamo")}),
    ),
    "masked_words": values(
        "masked_words",
        example(WORDS, masked=2, boxes=[[0, 0, 0.5, 0.5]], models={"mamo": {"map": HEAT, "guesses": [["cat", 0.7]]}}),
        models=1,
    ),
    "masked_patches": values(
        "masked_patches", example(WORDS, patches=[1], models={"mamo": {"values": [0.0, 0.1, 0.2, 0.0, 0.0, 0.1]}}), models=1
    ),
    "grounding": values(
        "grounding",
        example(WORDS, box=[0, 0, 0.5, 0.5], models={
            "albef_style": {"map": HEAT, "box": None, "iou": 0.0, "right": False},
            "mamo": {"map": HEAT, "box": [0, 0, 0.6, 0.5], "iou": 0.83, "right": True}}),
    ),
    "answers": values(
        "answers",
        example(WORDS, answer="red", models={"mamo": {"map": HEAT, "answer": "blue", "probability": 0.4, "right": False}}),
        models=1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("method", CASES)
def test_every_method_is_drawn_the_same_each_time_and_without_diverged_models(
    method: str, tmp_path: Path
) -> None:
    values = CASES[method]
    write_maps(values, tmp_path / "deep" / "maps.json")
    assert read_maps(tmp_path / "deep" / "maps.json") == values
    files = [tmp_path / f"a.{suffix}" for suffix in ("png", "svg")]
    draw_figure(values, "Title", files)
    first = [file.read_bytes() for file in files]
    draw_figure(values, "Title", files)
    assert [file.read_bytes() for file in files] == first
    with Image.open(files[0]) as image:
        assert image.info["dpi"][0] == pytest.approx(200, abs=1)
    draw_small(values, [tmp_path / "small.png"])
    with Image.open(tmp_path / "small.png") as image, Image.open(files[0]) as whole:
        assert image.size != whole.size
    with Image.open(files[0]) as image:
        assert len(set(image.convert("RGB").resize((80, 80)).get_flattened_data())) > 20, "something is drawn"
    assert b"image/jpeg" in first[1] and b"image/png" not in first[1]
    gone = values | {
        "models": [model | {"outcome": "diverged"} for model in values["models"]],
        "examples": [e | {"models": {}} for e in values["examples"]],
    }
    draw_figure(gone, "Title", files[:1])
    assert files[0].read_bytes() != first[0]


def test_a_notebook_draws_packed_maps_and_computes_those_of_other_words(tmp_path: Path) -> None:
    plan = make_plan("smoke", ABLATIONS)
    with pytest.raises((RunError, PreparedError)):
        show_figure(plan, "figure1", tmp_path)
    write_maps(CASES["words"], maps_path(plan, "figure1", tmp_path))
    values, figure = show_figure(plan, "figure1", tmp_path)
    assert values == CASES["words"]
    written = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "Figure 1: Per-word Grad-CAM" in " ".join(written.split()) and "(smoke)" in written
    Image.open(io.BytesIO(jpeg())).save(tmp_path / "own.jpg")
    values, _ = show_figure(plan, "figure1", tmp_path, [tmp_path / "own.jpg"], ["a dog"], "demo")
    assert [example["text"] for example in values["examples"]] == ["a dog"], (
        "not from the maps that are there"
    )


def test_figures_share_the_runs_of_tables_and_their_digest_follows_them() -> None:
    plan = make_plan("demo", ABLATIONS)
    trained = {key for table in plan.tables.values() for key in plan.closure(table.inputs)}
    assert set(plan.figures) >= {f"figure{n}" for n in (1, 4, 5, 7, 8, 9, 10, 11, 12, 13)}
    for name, figure in plan.figures.items():
        assert set(figure.inputs) <= trained, f"{name} would train a model that no table shows"
    assert plan.figures["figure7"].layer == plan.scale.jobs["grounding"].layer  # type: ignore[union-attr]
    assert plan.figures["figure8"].layer == plan.scale.pretrain.model.fusion_layers
    digests = {name: figure_digest(plan, name) for name in plan.figures}
    assert len(set(digests.values())) == len(digests)
    assert digests["figure1"] != figure_digest(make_plan("smoke", ABLATIONS), "figure1")


def test_a_figures_page_names_runs_images_and_how_they_were_chosen() -> None:
    plan = make_plan("smoke", ABLATIONS)
    page = pages_of(plan, ABLATIONS)["figure1"]
    text = figure_page(plan, "figure1", CASES["words"], page.mark, "> caveat\n\n")
    assert text.startswith(page.mark) and "# Figure 1: Per-word Grad-CAM" in text and "> caveat" in text
    assert (
        "seed 1" in text
        and "`a.jpg`" in text
        and "`pretrain/mamo` (converged)" in text
        and "Blue boxes" in text
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "masked_words"}, "shows one model as pre-trained"),
        ({"method": "grounding"}, "needs a job"),
        ({"models": [{"key": "a", "label": "A"}] * 2}, "model key given twice"),
    ],
)
def test_a_figure_that_makes_no_sense_is_refused(change: dict[str, Any], message: str) -> None:
    plain = read_figure("figure1", ABLATIONS).model_dump()
    with pytest.raises(ValueError, match=message):
        FigureSpec.model_validate(plain | change)


def test_a_layer_that_does_not_exist_is_refused_when_the_figure_is_planned(tmp_path: Path) -> None:
    import shutil

    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = own / "figures" / "figure1.yaml"
    path.write_text(path.read_text() + "layer: 7\n")
    with pytest.raises(
        SpecError,
        match=r"figures/figure1.yaml: layer: fusion layer 7 does not exist: set it to one of 1 to 2",
    ):
        make_plan("demo", own, only=["figure1"])


def test_a_figure_of_runs_that_are_not_made_names_the_command_and_its_cost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["figure", "figure1", "--scale", "smoke", "--results", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert (
        "figure1 is not made yet at scale 'smoke'" in said
        and "`mamo reproduce figure1 --scale smoke`" in said
    )
    assert re.search(
        r"makes them: \d+ runs \(.*\d+ pretrain.*\): \d\.\de\+\d+ operations, very roughly ", said
    )
