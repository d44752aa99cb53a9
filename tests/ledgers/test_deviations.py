"""Test what the paper leaves open: every setting says where it comes from, and the page shows what the specs say."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import pytest

from mamo.cli.main import main
from mamo.ledgers import deviations
from mamo.ledgers.deviations import BY_HAND, fixed_choices, settings_of
from mamo.specs.base import Spec
from mamo.specs.pretrain import PretrainSpec
from mamo.specs.scale import Scale, read_scale
from mamo.specs.source import own

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "deviations.md"


@pytest.fixture(scope="module")
def scale() -> Scale:
    return read_scale("paper", ROOT / "ablations")


def test_the_page_is_what_the_specs_make(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["deviations", "--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_noticed_and_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed default of the paper's scale makes the page stale; what is written by hand stays."""
    for name in ("ablations", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ablations" / "scales" / "paper.yaml"
    path.write_text(path.read_text().replace("momentum: 0.995", "momentum: 0.9"))
    page = tmp_path / "docs" / "deviations.md"
    page.write_text(page.read_text().replace("| how fusion attends |", "| how fusion looks |"))
    assert main(["deviations", "--check"]) == 1
    assert "call `mamo dev deviations`" in capsys.readouterr().err
    assert main(["deviations"]) == 0 and main(["deviations", "--check"]) == 0
    text = page.read_text()
    assert "`pretrain.target.momentum: 0.9`" in text and "| how fusion looks |" in text


def test_every_setting_has_a_source_and_a_place(scale: Scale) -> None:
    settings = settings_of(scale)
    places = {setting.acts_in for setting in settings} | {
        name.strip("`") for row in fixed_choices(PAGE) for name in row[2].split(", ")
    }
    assert [place for place in places if not (ROOT / place).exists()] == []
    named = {name for setting in settings for name in setting.values}
    assert (
        len(settings) > 100
        and {
            "pretrain.objectives.itm_random",
            "pretrain.collapse.patience",
            "pretrain.objectives.distillation.queue",  # in a section that is off
            "jobs.vqa.extra_weight",
            "data.datasets.sbu.missing_limit",
            "weights.text.vocab_size",
        }
        <= named
    )
    assert all(setting.source.text for setting in settings)


def test_a_setting_without_a_source_is_refused(scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner(Spec):
        rate: Annotated[float, own("a try")] = 1.0
        size: int = 1

    class Outer(Spec):
        inner: Inner = Inner()

    class Own:
        pretrain = Outer()

    monkeypatch.setattr(deviations, "SECTIONS", ("pretrain",))
    with pytest.raises(TypeError, match="Inner.size has no source"):
        settings_of(Own())  # type: ignore[arg-type]


def test_equal_values_are_shown_once(scale: Scale) -> None:
    """Eight optimisers: pre-training clips, and the seven jobs do not."""
    clip = next(s for s in settings_of(scale) if "pretrain.optimiser.clip" in s.values)
    assert list(clip.values.items()) == [
        ("pretrain.optimiser.clip", 1.0),
        ("jobs.retrieval_coco.optimiser.clip", None),
    ]
    assert clip.more == len(scale.jobs) - 1 and clip.source.text == "X-VLM"
    seeds = [s for s in settings_of(scale) if any(name.endswith(".seed") for name in s.values)]
    assert {next(iter(s.values)) for s in seeds} == {"pretrain.seed", "jobs.retrieval_coco.seed"}


def test_the_json_schema_names_the_sources() -> None:
    specs = PretrainSpec.model_json_schema()["$defs"]
    assert specs["MaskingSpec"]["properties"]["image_ratio"]["source"] == "section 4.2"
    assert specs["ModelSpec"]["properties"]["temperature"]["source"] == "ALBEF"


def test_what_is_no_setting_is_read_from_the_page(tmp_path: Path) -> None:
    rows = fixed_choices(PAGE)
    assert len(rows) > 30 and all(len(row) == 4 and all(row) for row in rows)
    assert any(row[0] == "ITM's input" and "[CLS]" in row[1] for row in rows)
    assert fixed_choices(tmp_path / "none.md") == []
    page = tmp_path / "page.md"
    page.write_text(f"{BY_HAND}\n\n| open point | here |\n|---|---|\n| a | b |\n\n## Next\n\n| c | d |\n")
    assert fixed_choices(page) == [["a", "b"]]
