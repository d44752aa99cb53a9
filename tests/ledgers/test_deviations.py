"""The deviations ledger: its page is up to date, every entry leads somewhere, and every setting has an entry."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mamo.cli.main import main
from mamo.ledgers.deviations import Deviations, fields, owners, problems, read_deviations, source_of, value_of
from mamo.specs.overrides import SpecError
from mamo.specs.scale import Scale, read_scale

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "docs" / "deviations.yaml"


@pytest.fixture(scope="module")
def scale() -> Scale:
    return read_scale("paper", ROOT / "ablations")


def altered(tmp_path: Path, old: str, new: str) -> Deviations:
    text = SOURCE.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "deviations.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return read_deviations(path)


def test_the_page_is_what_the_ledger_makes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["deviations", "--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_noticed_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed default of the paper's scale makes the page stale."""
    for name in ("ablations", "mamo", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "ablations" / "scales" / "paper.yaml"
    path.write_text(path.read_text().replace("momentum: 0.995", "momentum: 0.9"))
    assert main(["deviations", "--check"]) == 1
    assert "call `mamo dev deviations`" in capsys.readouterr().err
    assert main(["deviations"]) == 0 and main(["deviations", "--check"]) == 0
    assert "`pretrain.target.momentum: 0.9`" in (tmp_path / "docs" / "deviations.md").read_text()
    (tmp_path / "mamo" / "model" / "target.py").write_text("")
    assert main(["deviations", "--check"]) == 1
    assert "'what the EMA covers': mamo/model/target.py:update_target is not there" in capsys.readouterr().err


def test_every_setting_has_an_entry_and_every_entry_a_place(scale: Scale) -> None:
    deviations = read_deviations(SOURCE)
    assert problems(deviations, scale, ROOT) == []
    assert len(list(fields())) > 80 and len(deviations.entries) > 55
    assert {"ObjectivesSpec.itm_random", "CollapseSpec.patience", "VqaSpec.extra_weight"} <= {
        ".".join(field) for field in fields()
    }


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "          - pretrain.collapse.patience\n",
            "",
            "CollapseSpec.patience is in no entry: say in docs/deviations.yaml whether",
        ),
        (
            "pretrain.collapse.patience",
            "pretrain.collapse.patients",
            "there is no setting pretrain.collapse.patients",
        ),
        (
            "mamo/training/outcome.py:DivergenceMonitor",
            "mamo/training/checkpoints.py:Checkpoints",
            "pretrain.collapse.patience acts in none of mamo/training/checkpoints.py:Checkpoints",
        ),
        (
            "itm.py:hard_negatives",
            "itm.py:soft_negatives",
            "mamo/objectives/itm.py:soft_negatives is not there",
        ),
        (
            "rows: ablations/figure6.yaml",
            "rows: ablations/figure66.yaml",
            "ablations/figure66.yaml is not there",
        ),
    ],
)
def test_what_no_longer_holds_is_said(tmp_path: Path, scale: Scale, old: str, new: str, problem: str) -> None:
    found = problems(altered(tmp_path, old, new), scale, ROOT)
    assert any(problem in line for line in found), found


def test_settings_lead_to_the_spec_that_defines_them(scale: Scale) -> None:
    assert owners("jobs.vqa.seed", scale) == {("JobSpec", "seed")}
    assert owners("jobs.grounding.itm_random", scale) == {("AlignmentSpec", "itm_random")}
    assert owners("pretrain.objectives.mim.decoder_depth", scale) == {("MimSpec", "decoder_depth")}
    assert owners("jobs.nothing.seed", scale) == owners("nothing", scale) == set()
    assert value_of("jobs.grounding.transform.crop_scale", scale) is None
    assert "def full_set" in (source_of("mamo/model/fusion.py:FusionEncoder.full_set", ROOT) or "")
    assert source_of("mamo/model/fusion.py:full_set", ROOT) is None, "a method is named with its class"


def test_an_entry_must_act_somewhere(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="'Table 10's counts' acts nowhere: give acts_in or rows"):
        altered(tmp_path, "        acts_in:\n          - mamo/data/store/statistics.py:statistics\n", "")
