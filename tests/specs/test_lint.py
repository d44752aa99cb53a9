"""Test what rows change: each row's difference from the base row is printed as it is, and equal rows are found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mamo.cli.main import main
from mamo.specs.lint import row_changes, twins
from mamo.specs.plan import make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


@pytest.mark.parametrize("scale", ["paper", "demo", "smoke", "flickr8k"])
def test_no_two_rows_of_a_committed_table_are_one_run(scale: str) -> None:
    assert [pair for table in make_plan(scale, ABLATIONS).tables.values() for pair in twins(table)] == []


def test_rows_of_the_papers_tables_change_what_their_labels_say() -> None:
    """By hand, from the paper's Tables 5, 6 and 7."""
    plan = make_plan("paper", ABLATIONS)
    changed = {
        name: row_changes(plan, plan.tables[name]) for name in ("table5", "table6", "table7", "figure6")
    }
    assert changed["table7"] == {
        "no_ema": ["target.momentum: 0.995 → 0.0"],
        "no_predictor": ["objectives.mrm.predictor: true → false"],
        "full": [],
    }
    assert changed["table6"]["image"] == ["objectives.mrm.text: true → false"]
    assert changed["table6"]["text"] == ["objectives.mrm.image: true → false"]
    assert changed["table6"]["none"] == changed["table5"]["itc_itm_mlm_mim"] == ["objectives.mrm → null"]
    off = ["objectives.mlm: true → false", "objectives.mim → null", "objectives.mrm → null"]
    assert changed["table5"]["itc_itm"] == off and changed["table5"]["full"] == []
    assert changed["figure6"]["image25"] == ["masking.image_ratio: 0.75 → 0.25"]


@pytest.mark.parametrize(
    ("table", "old", "new", "row", "line"),
    [
        (
            "table7",
            "set: {objectives.mrm.predictor: false}",
            "set: {objectives.mrm.predictor: false, target.momentum: 0.9}",
            "no_predictor",
            "target.momentum: 0.995 → 0.9",
        ),
        (
            "table8",
            "set: {objectives.mim.target: pixels, objectives.mim.decoder_depth: 4}",
            "set: {objectives.mim.target: pixels, objectives.mim.decoder_depth: 5}",
            "pixels",
            "objectives.mim.decoder_depth: 0 → 5",
        ),
        (
            "figure6",
            "{masking.image_ratio: 0.25}",
            "{masking.image_ratio: 0.3}",
            "image25",
            "masking.image_ratio: 0.75 → 0.3",
        ),
    ],
)
def test_a_further_change_is_shown(
    tmp_path: Path, table: str, old: str, new: str, row: str, line: str
) -> None:
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = own / f"{table}.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    before, after = (
        row_changes(plan, plan.tables[table])[row]
        for plan in (make_plan("smoke", folder, only=[table]) for folder in (ABLATIONS, own))
    )
    assert line in after and line not in before


def test_the_command_shows_changes_and_tells_equal_rows_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "table6", "--scale", "smoke"]) == 0
    shown = capsys.readouterr().out
    assert "table6: MRM on words\n    objectives.mrm.image: true → false\n" in shown
    assert "    (as the base row)" in shown
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = own / "table6.yaml"
    path.write_text(
        path.read_text().replace("set: {objectives.mrm.text: false}", "set: {objectives.mrm.image: false}")
    )
    monkeypatch.setattr("mamo.cli.options.ABLATIONS", own)
    assert main(["lint", "table6", "--scale", "smoke"]) == 1
    assert "is the same run as row 'image'" in capsys.readouterr().out
