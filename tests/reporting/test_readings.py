"""Readings: rows as a product, and what share of the readings supports a claim."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mamo.reporting.collect import collect
from mamo.reporting.curve_figure import grid_lines
from mamo.reporting.pages import pages_of
from mamo.reporting.publish import publish
from mamo.reporting.specification_curve import sort_readings
from mamo.specs.ablation import AblationSpec, read_ablation
from mamo.specs.lint import row_changes
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"
FILE: dict[str, Any] = {
    "title": "Readings",
    "question": "Does it depend on how the text is read?",
    "hypothesis": "It does not.",
    "cost": "Little.",
    "kind": "readings",
    "base": {"schedule.epochs": 200},  # long enough for verdicts
    "columns": [
        {"key": "tr", "label": "TR", "job": "retrieval_coco", "metric": "tr_r1"},
        {"key": "ir", "label": "IR", "job": "retrieval_coco", "metric": "ir_r1"},
    ],
    "models": [
        {"key": "full", "label": "MAMO"},
        {"key": "no_mrm", "label": "no MRM", "set": {"objectives.mrm": None}},
        {"key": "no_ema", "label": "w/o EMA", "set": {"target.momentum": 0.0}},
    ],
    "readings": [
        {"key": "plain", "label": "as set", "choices": {"MIM's target": "raw", "clipping": "1"}},
        {
            "key": "normed",
            "label": "normalised targets of MIM",
            "set": {"objectives.mim.normalise_target": True},
            "choices": {"MIM's target": "normalised", "clipping": "1"},
        },
        {
            "key": "slow",
            "label": "w/o EMA as a slow target",
            "models": {"no_ema": {"target.momentum": 0.5}},
            "choices": {"MIM's target": "raw", "clipping": "1"},
        },
    ],
    "contrasts": [
        {"key": "mrm", "label": "full above no MRM", "claim": "mrm_on_top", "minus": ["full", "no_mrm"]},
        {
            "key": "ema",
            "label": "w/o EMA diverges",
            "claim": "no_ema_diverges",
            "ends": ["no_ema", "diverged"],
        },
    ],
    "seeds": 3,
}


def planned(tmp_path: Path, **changes: Any) -> tuple[Plan, Path]:
    folder = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    (folder / "open_points.yaml").write_text(yaml.safe_dump(FILE | changes))
    return make_plan("smoke", folder, only=["open_points"]), folder


def fill(plan: Plan, results: Path, value: Callable[[str, int], float | None]) -> None:
    """Records by row and seed; None: the pre-training diverged."""
    table = plan.tables["open_points"]
    metrics: dict[str, dict[str, float]] = {}
    ended: dict[str, str] = {}
    for cell in table.cells:
        for seed, key in enumerate(cell.runs):
            score = value(cell.row, seed)
            if score is None:
                ended |= {key: "skipped", table.pretrainings[cell.row][seed]: "diverged"}
            else:
                metrics.setdefault(key, {})[cell.metric] = score
    for key in table.inputs:
        path = plan.runs[key].record(results)
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"outcome": {"status": ended.get(key, "converged")}, "metrics": metrics.get(key, {})}
        path.write_text(json.dumps(record))


def test_rows_are_the_models_under_each_reading(tmp_path: Path) -> None:
    plan, folder = planned(tmp_path)
    table = plan.tables["open_points"]
    rows = {row.key: row for row in table.ablation.rows}
    assert (
        list(rows)[:4] == ["full__plain", "no_mrm__plain", "no_ema__plain", "full__normed"] and len(rows) == 9
    )
    assert rows["no_ema__normed"].label == "w/o EMA, normalised targets of MIM"
    spec = {row: plan.runs[table.pretrainings[row][0]].spec for row in rows}
    assert spec["no_mrm__normed"]["objectives"]["mrm"] is None
    assert spec["no_mrm__normed"]["objectives"]["mim"]["normalise_target"] is True
    assert spec["no_ema__slow"]["target"]["momentum"] == 0.5, (
        "a reading of one model alone is laid over its own"
    )
    assert table.pretrainings["full__slow"] == table.pretrainings["full__plain"], (
        "the same run is trained once"
    )
    assert table.ablation.base_row == "full__plain"
    changed = row_changes(plan, table)
    assert changed["full__slow"] == [] and changed["no_mrm__plain"] == ["objectives.mrm → null"]
    again = AblationSpec.model_validate(table.ablation.model_dump() | {"seeds": 2})
    assert again.rows == table.ablation.rows
    assert (
        make_plan("smoke", folder, only=["open_points"], seeds={"open_points": 1})
        .tables["open_points"]
        .digest
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"contrasts": [{"key": "a", "label": "x", "minus": ["full", "non"]}]}, "there is no model 'non'"),
        ({"contrasts": [{"key": "a", "label": "x"}]}, "give one of minus and ends"),
        ({"readings": []}, "needs models, readings and contrasts"),
        ({"readings": [{"key": "a", "label": "x", "models": {"ful": {}}}]}, "there is no model 'ful'"),
        ({"readings": [{"key": "a__b", "label": "x"}]}, "given twice or holds '__'"),
        (
            {"readings": [{"key": "a", "label": "x", "set": {"objectives.mrm.normalize": "l2"}}]},
            "unknown key",
        ),
        ({"rows": [{"key": "a", "label": "x"}]}, "give none"),
        ({"kind": "table"}, "only to it"),
    ],
)
def test_a_wrong_file_is_answered_with_its_key(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    with pytest.raises(SpecError, match=why):
        planned(tmp_path, **changes)


def test_a_claim_is_supported_in_a_share_of_the_distinct_readings(tmp_path: Path) -> None:
    """MRM gains 5 under the first reading and loses 5 under the second; the third is the first to this question."""
    plan, folder = planned(tmp_path)

    def value(row: str, seed: int) -> float | None:
        model, _, reading = row.partition("__")
        if model == "no_ema":
            return None if reading == "normed" or (reading == "slow" and seed == 0) else 20.0
        gain = 0.0 if model == "no_mrm" else -5.0 if reading == "normed" else 5.0
        return 20 + gain + 0.1 * seed * (model == "full")

    fill(plan, tmp_path / "results", value)
    table = plan.tables["open_points"]
    values = collect(plan, table, tmp_path / "results", folder)
    mrm, ema = values.curve
    assert mrm.counts == {"supported": 1, "refuted": 1, "undecided": 0}
    low, high = sort_readings(mrm)
    assert (low.keys, high.keys) == (("normed",), ("plain", "slow"))
    assert low.value == pytest.approx(-4.9) and high.value == pytest.approx(5.1) and high.seeds == 3
    assert low.lower < low.value < low.upper < 0
    # Every seed of one reading diverged, none of another, one of three of the last.
    assert ema.counts == {"supported": 1, "refuted": 1, "undecided": 1}
    page = pages_of(plan, folder)["open_points"]
    assert {"open_points.png", "open_points.svg"} <= set(page.files)
    publish(plan, table, values, page, tmp_path / "reports", folder)
    text = (tmp_path / "reports" / "open_points.md").read_text()
    assert "1 of 2 (50%)" in text and "1 of 3 (33%)" in text and "as set; w/o EMA as a slow target" in text
    assert text.index("no MRM") < text.index("Every model under every reading") < text.index("## Runs")
    assert all((tmp_path / "reports" / file).stat().st_size > 100 for file in page.files)


def test_one_seed_borrows_the_noise_of_another_table_and_waits_for_it(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    columns = [
        {"key": f"{d}_{n}", "label": n, "job": f"retrieval_{n}", "metric": f"{d}_r1"}
        for n in ("coco",)
        for d in ("tr", "ir")
    ]
    (folder / "open_points.yaml").write_text(yaml.safe_dump(FILE | {"columns": columns, "seeds": 1}))
    plan = make_plan(
        "smoke", folder, only=["open_points", "table6", "table7"], seeds={"table6": 3, "table7": 1}
    )
    table = plan.tables["open_points"]
    assert [other.ablation.name for other in plan.lenders(table)] == ["table6"]
    page = pages_of(plan, folder)["open_points"]
    assert set(page.inputs) == set(table.inputs) | set(plan.tables["table6"].inputs)
    assert not plan.lenders(plan.tables["table7"]), "only readings decide on their own page"


def test_the_grid_has_a_line_for_each_choice_or_each_reading() -> None:
    readings = AblationSpec.model_validate(FILE | {"name": "x"}).readings
    assert grid_lines(readings) == {
        "MIM's target: raw": {"plain", "slow"},
        "MIM's target: normalised": {"normed"},
        "clipping: 1": {"plain", "normed", "slow"},
    }
    bare = [reading.model_copy(update={"choices": {}}) for reading in readings]
    assert list(grid_lines(bare)) == [reading.label for reading in readings]


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    text = (ABLATIONS.parent / "docs" / "ablations.md").read_text(encoding="utf-8")
    _, block = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    folder = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    (folder / "open_points.yaml").write_text(block)
    table = make_plan("smoke", folder, only=["open_points"]).tables["open_points"]
    assert (
        len(table.ablation.rows) == 6
        and len({run for runs in table.pretrainings.values() for run in runs}) == 12
    )


def test_without_results_every_reading_is_undecided(tmp_path: Path) -> None:
    plan, folder = planned(tmp_path, base={})
    values = collect(plan, plan.tables["open_points"], tmp_path / "results", folder)
    assert [contrast.counts["undecided"] for contrast in values.curve] == [2, 3]
    assert read_ablation("open_points", folder).kind == "readings"
