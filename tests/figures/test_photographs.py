"""Figures on photographs that may be published: they come with the package, with words of our own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image
from trained import pretraining

from mamo.drawing.draw import draw_figure
from mamo.figures.maps import compute_figure
from mamo.reporting.figure_pages import figure_page
from mamo.reporting.site.build import _explorer
from mamo.specs.figure import PHOTOGRAPHS, FigureSpec, read_figure
from mamo.specs.overrides import SpecError
from mamo.specs.plan import make_plan

ABLATIONS = Path(__file__).parents[2] / "ablations"
NAMES = (
    "figure1",
    "figure4",
    "figure5",
    "figure9",
    "figure10",
    "figure11",
    "figure12",
    "figure13",
    "explorer",
)


def test_photographs_are_small_and_their_terms_are_stated() -> None:
    terms = (PHOTOGRAPHS / "README.md").read_text(encoding="utf-8")
    notice = (ABLATIONS.parent / "NOTICE").read_text(encoding="utf-8")
    assert "mamo/figures/photographs/README.md" in notice
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    assert [path.name for path in files] == sorted(
        path.name for path in PHOTOGRAPHS.iterdir() if path.suffix != ".md"
    )
    for path in files:
        (line,) = [line for line in terms.splitlines() if line.startswith(f"| {path.name} |")]
        assert "CC0" in line or "public domain" in line
        assert path.stat().st_size < 100_000
        with Image.open(path) as image:
            assert min(image.size) == 256 and image.mode == "RGB" and not image.getexif()


def test_the_scale_of_photographs_shows_no_photo_of_its_data_set() -> None:
    plan = make_plan("flickr8k", ABLATIONS)
    assert set(plan.figures) == {f"{name}_flickr8k" for name in NAMES}
    trained = {key for table in plan.tables.values() for key in plan.closure(table.inputs)}
    for name, bound in plan.figures.items():
        assert bound.figure.photographs and not bound.figure.images, (
            f"{name} would publish photos of the data set"
        )
        assert set(bound.inputs) <= trained, f"{name} would train a model that no table shows"
        like = read_figure(name.removesuffix("_flickr8k"), ABLATIONS)
        assert (bound.figure.method, bound.figure.models) == (like.method, like.models)


@pytest.mark.parametrize("name", ["figure1", "figure4", "figure5", "explorer"])
def test_photographs_are_shown_under_their_names_with_their_words(name: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = own / "figures" / f"{name}_flickr8k.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace("data: flickr8k", "data: coco"), encoding="utf-8"
    )
    plan = make_plan("smoke", own, only=[f"{name}_flickr8k"])
    pretraining(plan, tmp_path / "results")
    found = compute_figure(plan, f"{name}_flickr8k", tmp_path / "results", weights="mamo")
    figure = plan.figures[f"{name}_flickr8k"].figure
    assert [(e["image"], e["text"]) for e in found["examples"]] == [
        (p.name, p.text) for p in figure.photographs
    ]
    assert all(
        e["picture"].startswith("data:image/jpeg") and e["models"]["weights"] for e in found["examples"]
    )
    draw_figure(found, figure.title, [tmp_path / "a.png"])
    page = figure_page(plan, f"{name}_flickr8k", found, "mark", "")
    assert "photographs that come with the package" in page and "Drawn by seed" not in page
    if name == "explorer":
        shown = _explorer({"figure1_flickr8k": found | {"examples": []}, "explorer_flickr8k": found})
        assert shown is not None and shown["examples"] == found["examples"]


def test_photographs_leave_the_digests_of_other_figures_as_they_are() -> None:
    assert "photographs" not in read_figure("figure1", ABLATIONS).content
    shown = read_figure("figure1_flickr8k", ABLATIONS)
    other = shown.model_copy(update={"photographs": shown.photographs[:0]})
    assert shown.content["photographs"] and "photographs" not in other.content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"photographs": [{"name": "chelsae", "text": "a cat"}]}, "no photograph 'chelsae'.*chelsea"),
        ({"images": ["a.jpg"]}, "stand for all images"),
        ({"method": "answers", "job": "vqa"}, "a caption and nothing else"),
    ],
)
def test_photographs_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    plain = read_figure("figure1_flickr8k", ABLATIONS).model_dump()
    with pytest.raises(ValueError, match=message):
        FigureSpec.model_validate(plain | change)


@pytest.mark.parametrize(
    ("first", "message"),
    [
        ("extends: [figure1]", "the name of one figure is expected"),
        ("extends: figure1_flickr8k", "extends a figure itself"),
        ("extends: figure99", "figure99.yaml: no such file"),
    ],
)
def test_a_figure_extends_one_other(first: str, message: str, tmp_path: Path) -> None:
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    (own / "figures" / "mine.yaml").write_text(f"{first}\ntitle: mine\n", encoding="utf-8")
    with pytest.raises(SpecError, match=message):
        read_figure("mine", own)
