"""Figures of one's own photos, words and models, before anything was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image
from trained import answering, noise, pretraining

from mamo.cli.main import main
from mamo.figures.maps import compute_figure
from mamo.published import load
from mamo.published.export import export
from mamo.published.load import LoadError
from mamo.runs.run import RunError
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).parents[2] / "ablations"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS)


@pytest.fixture(scope="module")
def exported(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an exported pre-training, ``mamo``, and one fine-tuned for VQA, ``vqa``."""
    folder = tmp_path_factory.mktemp("exported")
    run, _ = pretraining(plan, folder / "results/smoke")
    export(plan, run, folder / "results/smoke", folder / "mamo", half=True)
    export(plan, answering(plan, folder / "results/smoke"), folder / "results/smoke", folder / "vqa")
    return folder


def test_the_command_draws_photos_of_ones_own_before_anything_is_made(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ABLATIONS.parent)
    first, second = map(str, noise(tmp_path, 2))
    words = ["figure", "figure1", "--scale", "smoke", "--results", str(tmp_path / "results")]
    out = ["--out", str(tmp_path / "a.png")]
    # The model that ships with the package stands in.
    (tmp_path / "models").mkdir()
    (tmp_path / "models/demo").symlink_to(exported / "mamo")
    monkeypatch.setattr(load, "_models", lambda: tmp_path / "models")
    assert main([*words, *out, "--image", first, second, "--text", "a dog on the beach"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as drawn:
        assert drawn.size[0] > 500
    # Models of generated scenes know no photos: the one that does is shown even where they are made.
    words[-1] = str(exported / "results")
    (tmp_path / "models/photos").symlink_to(exported / "mamo")
    shown: list[str | None] = []
    monkeypatch.setattr(
        "mamo.figures.maps.compute_figure",
        lambda *given: shown.append(given[-1]) or compute_figure(*given),
    )
    for asked in ([], ["--weights", "mamo"]):
        assert main([*words, *out, *asked, "--image", first, "--text", "a dog"]) == 0
    assert shown == ["photos", "mamo"]
    capsys.readouterr()
    words[-1] = str(tmp_path / "results")
    assert main([*words, *out]) == 1, "the figure itself is not made, and no traceback says so"
    assert "mamo reproduce --scale smoke figure1" in capsys.readouterr().err
    assert main([*words, "--image", first, "--text", "a dog"]) == 2
    assert "want --out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("images", "texts", "message"),
    [
        (["OWN"], [], "noise0.png: your own photo has no caption; give a caption with --text"),
        (["no.jpg"], ["a dog"], "'no.jpg' is not a file here, .* give a file or a key"),
        (["OWN", "no.jpg"], ["a dog"], "'no.jpg' is not a file here, .* give a file or a key"),
        ([], ["a dog"], "name a file or a key with --image"),
        (["OWN"] * 3, ["a", "b"], "2 texts for 3 images"),
        (["YAML"], ["a"], "table1.yaml: is not an image"),
    ],
)
def test_what_cannot_be_shown_is_said(
    plan: Plan, tmp_path: Path, images: list[str], texts: list[str], message: str
) -> None:
    files = {"OWN": str(noise(tmp_path, 1)[0]), "YAML": str(ABLATIONS / "table1.yaml")}
    with pytest.raises(SpecError, match=message):
        compute_figure(plan, "figure1", tmp_path, [files.get(image, image) for image in images], texts)


def test_outside_of_a_project_the_package_is_enough(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = map(str, noise(tmp_path, 2))
    monkeypatch.chdir(tmp_path)
    words = [
        "figure",
        "figure1",
        "--out",
        "a.svg",
        "--weights",
        str(exported / "mamo"),
        "--image",
        first,
        second,
    ]
    assert main([*words, "--text", "a dog on the beach"]) == 0
    assert (tmp_path / "a.svg").stat().st_size > 1000
    capsys.readouterr()
    assert main(words) == 2
    assert "no folder 'ablations' here" in capsys.readouterr().err
    assert main([*words, "no.jpg", "--text", "a dog"]) == 2
    assert "no.jpg: no such file" in capsys.readouterr().err


def test_every_photo_has_its_own_words(plan: Plan, exported: Path, tmp_path: Path) -> None:
    images, weights = noise(tmp_path, 2), str(exported / "mamo")
    values = compute_figure(plan, "figure1", tmp_path, images, ["a dog", "a blue bus"], weights)
    assert [example["words"] for example in values["examples"]] == [["a", "dog"], ["a", "blue", "bus"]]
    assert [example["image"] for example in values["examples"]] == list(map(str, images))
    (model,) = values["models"]
    assert model["run"].startswith("mamo-") and values["grid"] == 4 and values["layer"] == 1
    maps = values["examples"][0]["models"]["weights"]["maps"]
    assert len(maps) == 2 and len(maps[0]) == 16 and max(maps[0]) > 0
    both = compute_figure(plan, "figure1", tmp_path, images, "a dog", weights)
    assert [example["text"] for example in both["examples"]] == ["a dog", "a dog"]


def test_a_run_is_a_model_too_with_what_exported_ones_leave_behind(
    plan: Plan, exported: Path, tmp_path: Path
) -> None:
    image, results = noise(tmp_path, 1), exported / "results/smoke"
    values = compute_figure(plan, "figure1", results, image, "a small red cat", "mamo")
    assert values["models"][0]["run"].startswith("pretrain/mamo-")
    with pytest.raises(SpecError, match="figure4 explains the MRM loss"):
        compute_figure(plan, "figure4", results, image, "a small red cat", str(exported / "mamo"))


def test_expressions_and_questions_of_ones_own(plan: Plan, exported: Path, tmp_path: Path) -> None:
    from mamo.drawing.draw import draw_figure

    image = noise(tmp_path, 1)
    heat = compute_figure(plan, "figure7", tmp_path, image, "the red cat", str(exported / "mamo"))
    own = heat["examples"][0]["models"]["weights"]
    assert own["box"] is None and own["right"] is None and len(own["map"]) == 16
    answer = compute_figure(plan, "figure8", tmp_path, image, "what is it", str(exported / "vqa"))
    assert answer["examples"][0]["models"]["weights"]["answer"] in ("dog", "cat", "bus")
    for values in (heat, answer):
        draw_figure(values, "Title", [tmp_path / "a.png"])
    with pytest.raises(SpecError, match="figure8 explains answers; name a model fine-tuned for VQA"):
        compute_figure(plan, "figure8", tmp_path, image, "what is it", str(exported / "mamo"))
    with pytest.raises(SpecError, match="figure1 explains ITM's score"):
        compute_figure(plan, "figure1", tmp_path, image, "what is it", str(exported / "vqa"))


def test_without_models_there_is_nothing_to_show(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "_models", lambda: tmp_path / "none")
    with pytest.raises(RunError, match="name a model with --weights"):
        compute_figure(plan, "figure1", tmp_path, noise(tmp_path, 1), "a dog")
    with pytest.raises(LoadError):
        compute_figure(plan, "figure1", tmp_path, noise(tmp_path, 1), "a dog", "demo")
