"""The lint: a row that changes more than its label says is found, and no row of the committed tables does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mamo.cli.main import main
from mamo.specs.lint import findings
from mamo.specs.plan import make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


@pytest.mark.parametrize("scale", ["paper", "demo", "smoke", "flickr8k"])
def test_no_committed_label_says_less_than_its_row_changes(scale: str) -> None:
    assert findings(make_plan(scale, ABLATIONS)) == []


@pytest.mark.parametrize(
    ("table", "old", "new", "finding"),
    [
        (
            "table7",
            "set: {objectives.mrm.predictor: false}",
            "set: {objectives.mrm.predictor: false, target.momentum: 0.9}",
            "row 'no_predictor' ('w/o predictor') also changes target.momentum from 0.995 to 0.9",
        ),
        (
            "table8",
            "    besides:",
            "    x: 1 #",
            "also changes objectives.mim.decoder_depth from 0 to 4",
        ),
        (
            "table8",
            "set: {objectives.mim.target: visual_tokens, objectives.mim.decoder_depth: 0}",
            "set: {objectives.mim.target: visual_tokens}\n    besides: {masking.text_ratio: so}",
            "'besides' names masking.text_ratio, which is the base row's",
        ),
        (
            "table5",
            "    label: ITC+ITM, MLM\n",
            "    label: ITC+ITM, MLM, MIM\n",
            "names the objectives ITC+ITM+MLM+MIM, and trains ITC+ITM+MLM",
        ),
        (
            "figure6",
            "{masking.image_ratio: 0.25}",
            "{masking.image_ratio: 0.3}",
            "row 'image25' ('image 25 %') also changes masking.image_ratio from 0.75 to 0.3",
        ),
        (
            "table6",
            "set: {objectives.mrm.text: false}",
            "set: {objectives.mrm.image: false}",
            "row 'text' ('MRM on words') is the same run as row 'image'",
        ),
        (
            "table6",
            "set: {objectives.mrm.text: false}",
            "set: {objectives.mrm.image: false}",
            "row 'image' ('MRM on image patches') also changes objectives.mrm.image from True to False",
        ),
    ],
)
def test_what_a_label_does_not_say_is_found(
    tmp_path: Path, table: str, old: str, new: str, finding: str
) -> None:
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = own / f"{table}.yaml"
    text = path.read_text()
    assert old in text
    changed = text.replace(old, new, 1)
    if "x: 1" in changed:  # the reason taken away, the change left
        changed = "\n".join(line for line in changed.splitlines() if "x: 1 #" not in line)
    path.write_text(changed)
    found = findings(make_plan("smoke", own, only=[table]))
    assert any(finding in line for line in found), found


def test_the_command_tells_by_its_status(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lint", "table7", "--scale", "smoke"]) == 0
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = own / "table7.yaml"
    path.write_text(path.read_text().replace("label: w/o predictor", "label: simpler"))
    monkeypatch.setattr("mamo.cli.options.ABLATIONS", own)
    assert main(["lint", "table7", "--scale", "smoke"]) == 1
    assert "('simpler') also changes objectives.mrm.predictor" in capsys.readouterr().out
