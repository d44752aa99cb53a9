"""The claims ledger: its entries name what there is, and each kind of test decides as it says."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mamo.reporting.claims import judge, plumbing_only
from mamo.reporting.ledger import write_ledger
from mamo.reporting.pages import CLAIMS, OVERVIEW, pages_of
from mamo.reporting.paper import load_paper
from mamo.specs.ablation import read_ablation
from mamo.specs.claims import FILE, REPORTED, read_claims
from mamo.specs.overrides import SpecError
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


@pytest.mark.parametrize("claim", read_claims(ABLATIONS), ids=lambda claim: claim.key)
def test_a_claim_names_rows_and_columns_that_exist(claim: Any) -> None:
    for test in (claim.test, *claim.elsewhere):
        ablation = read_ablation(test.table, ABLATIONS)
        rows = {row.key: row for row in ablation.rows}
        assert set(test.rows) <= set(rows) and "chance" not in rows
        assert set(test.columns or ()) <= {column.key for column in ablation.columns}
        assert all(rows[row].x is not None for row in test.rises + test.falls)
        for term in test.terms:
            if term.startswith(REPORTED):
                paper = load_paper(test.table, ABLATIONS)
                assert paper is not None and paper.row(term.removeprefix(REPORTED))


def test_photographs_decide_the_claims_about_retrieval(tmp_path: Path) -> None:
    """A scale without a claim's table tests it in its own; where that table is made, the other test is not looked at."""
    plan = make_plan("flickr8k", ABLATIONS)
    fill(
        plan,
        tmp_path / "results",
        lambda row, column, seed: 20 + 4 * (row == "mamo") + wobble(seed) * (row == "mamo"),
    )
    claims = judge(plan, tmp_path / "results", ABLATIONS)["claims"]
    supported = {claim["key"]: claim["shown_in"] for claim in claims if claim["verdict"] == "supported"}
    assert set(supported) == {"finetuned_retrieval", "zero_shot_over_albef", "masked_modelling"}
    assert all("Flickr8k" in name for name in supported.values())
    assert all("is not made at scale" in c["why"] for c in claims if c["key"] not in supported)
    known = {claim.key: claim.test for claim in read_claims(ABLATIONS)}
    demo = read_claims(ABLATIONS, make_plan("demo", ABLATIONS).tables)
    assert all(claim.test == known[claim.key] for claim in demo)


def test_the_best_row_is_compared_with_every_other_one() -> None:
    claim = next(claim for claim in read_claims(ABLATIONS) if claim.key == "all_five")
    assert set(claim.test.rows) == {row.key for row in read_ablation("table5", ABLATIONS).rows}


def test_the_ledger_covers_what_the_paper_says() -> None:
    claims = read_claims(ABLATIONS)
    assert len(claims) >= 20 and len({claim.claim for claim in claims}) == len(claims)
    tables = {claim.test.table for claim in claims}
    assert {f"table{number}" for number in range(1, 10)} | {"figure6"} <= tables
    assert all(claim.place.startswith(("section", "Fig")) for claim in claims)


def own(tmp_path: Path, claims: list[dict[str, Any]], seeds: dict[str, int]) -> Path:
    """A copy of the ablation files with these claims and numbers of seeds."""
    folder = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    entries = [
        {"key": f"c{i}", "claim": "so it is", "place": "section 4", "test": test}
        for i, test in enumerate(claims)
    ]
    (folder / FILE).write_text(yaml.safe_dump({"claims": entries}, sort_keys=False))
    for name, count in seeds.items():
        path = folder / f"{name}.yaml"
        path.write_text(f"{path.read_text()}\nseeds: {count}\n")
    return folder


def fill(
    plan: Plan, results: Path, value: Callable[[str, str, int], float | str], chance: float = 1.0
) -> None:
    """Records whose value is a function of row, column and seed; a text is how the pre-training ended."""
    metrics: dict[str, dict[str, float]] = {}
    ended: dict[str, str] = {}
    for table in plan.tables.values():
        for cell in table.cells:
            for seed, key in enumerate(cell.runs):
                score = value(cell.row, cell.column, seed)
                metrics.setdefault(key, {})
                if isinstance(score, str):
                    ended[table.pretrainings[cell.row][seed]] = score
                    ended[key] = "skipped"
                else:
                    metrics[key] |= {cell.metric: score, f"chance/{cell.metric}": chance}
    for table in plan.tables.values():
        for key in table.inputs:
            path = plan.runs[key].record(results)
            path.parent.mkdir(parents=True, exist_ok=True)
            record = {"outcome": {"status": ended.get(key, "converged")}, "metrics": metrics.get(key, {})}
            path.write_text(json.dumps(record))


def verdicts(
    tmp_path: Path,
    claims: list[dict[str, Any]],
    tables: dict[str, int],
    value: Callable[[str, str, int], float | str],
    chance: float = 1.0,
    scale: str = "demo",
) -> list[dict[str, Any]]:
    folder = own(tmp_path, claims, tables)
    plan = make_plan(scale, folder, only=list(tables))
    fill(plan, tmp_path / "results", value, chance)
    actual: list[dict[str, Any]] = judge(plan, tmp_path / "results", folder)["claims"]
    return actual


def wobble(seed: int, size: float = 0.2) -> float:
    """A little noise, different from row to row only by its sign."""
    return size * (-1.0, 0.0, 1.0)[seed]


def test_a_row_lies_above_another_one(tmp_path: Path) -> None:
    """Means 10 / 15 / 12 / 12.05, seeds 0.2 apart; `both` and `text` cannot be told apart."""
    level = {"none": 10.0, "image": 15.0, "text": 12.0, "both": 12.05}
    sign = {"none": 1, "image": -1, "text": 1, "both": -1}

    def test(row: str, than: str) -> dict[str, Any]:
        return {"table": "table6", "contrast": {row: 1, than: -1}}

    claims = verdicts(
        tmp_path,
        [
            test("image", "none"),
            test("none", "image"),
            test("both", "text"),
            {"table": "table6", "contrast": [{"image": 1, other: -1} for other in ("none", "text", "both")]},
        ],
        {"table6": 3},
        lambda row, column, seed: level[row] + sign[row] * wobble(seed),
    )
    assert [claim["verdict"] for claim in claims] == ["supported", "refuted", "cannot tell", "supported"]
    assert claims[0]["numbers"][0]["value"] == pytest.approx(5.0) and claims[0]["numbers"][0]["seeds"] == 3
    # The paper's Table 6: (93.6 - 94.0) + (84.4 - 83.5) + (75.2 - 74.7) + (58.8 - 58.2) + (74.7 - 74.4), over five.
    assert claims[0]["numbers"][0]["paper"] == pytest.approx(0.38)
    assert (
        claims[0]["numbers"][0]["text"].startswith("MRM on image patches − no MRM: +5.0 [+")
        and "paper +0.4" in claims[0]["numbers"][0]["text"]
    )
    assert len(claims[3]["numbers"]) == 3


def test_every_column_must_agree_where_a_claim_says_so(tmp_path: Path) -> None:
    """Two points above in four columns and five below in one: above in the mean, not in each."""
    test = {"table": "table7", "contrast": {"full": 1, "no_predictor": -1}}
    claims = verdicts(
        tmp_path,
        [test, test | {"each": True}, test | {"columns": ["vqa"]}],
        {"table7": 3},
        lambda row, column, seed: (
            20 + (row == "full") * (2 if column != "vqa" else -5) + wobble(seed) * (row == "full")
        ),
    )
    assert [claim["verdict"] for claim in claims] == ["supported", "refuted", "refuted"]
    assert claims[0]["numbers"][0]["value"] == pytest.approx(0.6) and len(claims[1]["numbers"]) == 5
    assert "in VQA test-dev is below 0" in claims[1]["why"]


def test_steps_are_compared(tmp_path: Path) -> None:
    """MRM gains 1 by itself and 3 beside the other objectives: 2 more."""
    level = {"itc_itm": 10.0, "itc_itm_mrm": 11.0, "itc_itm_mlm_mim": 12.0, "full": 15.0}
    claims = verdicts(
        tmp_path,
        [
            {
                "table": "table5",
                "contrast": {"full": 1, "itc_itm_mlm_mim": -1, "itc_itm_mrm": -1, "itc_itm": 1},
            }
        ],
        {"table5": 3},
        lambda row, column, seed: level.get(row, 13.0) + wobble(seed) * (row == "full"),
    )
    assert claims[0]["verdict"] == "supported"
    assert claims[0]["numbers"][0]["value"] == pytest.approx(2.0)
    assert claims[0]["numbers"][0]["paper"] == pytest.approx(1.12 - 0.46)
    label = claims[0]["numbers"][0]["label"]
    assert label == "“ITC+ITM, MRM, MLM, MIM” − “ITC+ITM, MLM, MIM” − “ITC+ITM, MRM” + “ITC+ITM”"


def test_little_influence_must_be_shown(tmp_path: Path) -> None:
    """A wide interval around 0 is no evidence of little influence."""
    tests = [
        {"table": "table9", "contrast": [{row: 1, "depth0": -1} for row in ("depth2", "depth4")], "within": w}
        for w in (1.0, 0.01)
    ]
    tests.append({"table": "table9", "contrast": {"depth6": 1, "depth0": -1}, "within": 1.0})
    claims = verdicts(
        tmp_path,
        tests,
        {"table9": 3},
        lambda row, column, seed: 20 + 9 * (row == "depth6") + wobble(seed) * (row == "depth2"),
    )
    assert [claim["verdict"] for claim in claims] == ["supported", "cannot tell", "refuted"]


def test_curves_rise_and_fall(tmp_path: Path) -> None:
    """Ten points per ten percent of text, by hand: 100 x."""
    rows = {"text15": 0.15, "text25": 0.25, "text50": 0.5, "text75": 0.75}
    tests = [{"table": "figure6", direction: list(rows)} for direction in ("falls", "rises")]
    claims = verdicts(
        tmp_path,
        tests,
        {"figure6": 3},
        lambda row, column, seed: 90 - 100 * rows.get(row, 0.25) + wobble(seed) * (row == "text50"),
    )
    assert [claim["verdict"] for claim in claims] == ["supported", "refuted"]
    assert claims[0]["numbers"][0]["value"] == pytest.approx(10.0, abs=0.1)


def test_a_divergence_is_counted(tmp_path: Path) -> None:
    tests: list[dict[str, Any]] = [
        {"table": "table7", "ends": [row, "diverged"]} for row in ("no_ema", "full")
    ]
    tests.append({"table": "table7", "contrast": {"full": 1, "no_ema": -1}})

    def one_less(row: str, column: str, seed: int) -> float | str:
        return "diverged" if row == "no_ema" and seed < 2 else 20.0

    claims = verdicts(tmp_path / "a", tests, {"table7": 3}, one_less)
    assert [(c["verdict"], c["why"]) for c in claims[:2]] == [
        ("cannot tell", "2 of 3 trainings diverged"),
        ("refuted", "0 of 3 trainings diverged"),
    ]
    claims = verdicts(
        tmp_path / "b", tests, {"table7": 3}, lambda row, *_: "diverged" if row == "no_ema" else 20.0
    )
    assert [c["verdict"] for c in claims] == ["supported", "refuted", "supported"]


def test_numbers_of_a_divergence_that_was_trained_on_decide(tmp_path: Path) -> None:
    tests: list[dict[str, Any]] = [
        {"table": "table7", "ends": ["no_ema", "diverged"]},
        {"table": "table7", "contrast": {"full": 1, "no_ema": -1}},
    ]
    folder = own(tmp_path, tests, {"table7": 3})
    plan = make_plan("demo", folder, only=["table7"])
    table, results = plan.tables["table7"], tmp_path / "results"
    fill(plan, results, lambda row, column, seed: 20.0 + 5 * (row == "no_ema") + wobble(seed))
    for key in table.pretrainings["no_ema"]:
        path = plan.runs[key].record(results)
        record = json.loads(path.read_text())
        record["outcome"] = {"status": "diverged", "reason": "mrm rose"}
        path.write_text(json.dumps(record | {"details": {"trained_on": True}}))
    found = judge(plan, results, folder)["claims"]
    assert [claim["verdict"] for claim in found] == ["supported", "refuted"], "it diverged, and is better"
    assert found[1]["numbers"][0]["value"] == pytest.approx(-5.0)


def test_a_claim_waits_for_every_seed_of_its_jobs(tmp_path: Path) -> None:
    folder = own(tmp_path, [{"table": "table6", "contrast": {"both": 1, "none": -1}}], {"table6": 3})
    plan = make_plan("demo", folder, only=["table6"])
    table, results = plan.tables["table6"], tmp_path / "results"
    fill(plan, results, lambda row, column, seed: 20.0 + 5 * (row == "both") + wobble(seed))
    assert judge(plan, results, folder)["claims"][0]["verdict"] == "supported"
    last = next(cell.runs[2] for cell in table.cells if (cell.row, cell.column) == ("none", "vqa"))
    plan.runs[last].record(results).unlink()
    (claim,) = judge(plan, results, folder)["claims"]
    assert (claim["verdict"], claim["reason"]) == ("cannot tell", "missing"), (
        "two of three seeds are no verdict"
    )


def test_rows_that_learned_nothing_decide_nothing(tmp_path: Path) -> None:
    test = {"table": "table6", "contrast": {"both": 1, "none": -1}}
    tests: list[dict[str, Any]] = [test, {"table": "table6", "contrast": {"both": 1, "chance": -1}}]

    def values(row: str, column: str, seed: int) -> float:
        return 20 + 5 * (row == "both") + wobble(seed)

    claims = verdicts(tmp_path / "a", tests, {"table6": 3}, values, chance=30.0)
    assert claims[0]["verdict"] == "cannot tell" and "better than chance" in claims[0]["why"]
    assert claims[1]["verdict"] == "refuted" and claims[1]["numbers"][0]["value"] == pytest.approx(-5.0)
    claims = verdicts(tmp_path / "b", tests, {"table6": 3}, values, chance=22.0)
    assert [claim["verdict"] for claim in claims] == ["supported", "supported"], (
        "one of the rows is above chance"
    )


def test_one_seed_decides_only_with_noise_from_other_tables(tmp_path: Path) -> None:
    test = {"table": "table8", "contrast": {"momentum_features": 1, "pixels": -1}}
    lender = {"table": "table6", "contrast": {"both": 1, "none": -1}}

    def value(row: str, column: str, seed: int) -> float:
        return 20 + 5 * (row in ("momentum_features", "both")) + wobble(seed, 1.0) * (row == "image")

    alone = verdicts(tmp_path / "a", [test], {"table8": 1}, value)
    assert alone[0]["verdict"] == "cannot tell" and alone[0]["why"].startswith("one seed")
    assert alone[0]["numbers"], "the numbers are shown all the same"
    both = verdicts(tmp_path / "b", [test, lender], {"table8": 1, "table6": 3}, value)
    assert both[0]["verdict"] == "supported" and both[0]["numbers"][0]["borrowed"]
    assert not both[1]["numbers"][0]["borrowed"]


def test_numbers_of_other_work_are_compared_at_the_papers_scale_only(tmp_path: Path) -> None:
    test: dict[str, Any] = {
        "table": "table2",
        "contrast": {"mamo": 1, "reported/clip": -1},
        "columns": ["flickr30k_ir_r1"],
    }

    def value(row: str, column: str, seed: int) -> float:
        return 78.1 + wobble(seed)

    small = verdicts(tmp_path / "a", [test], {"table2": 3}, value)
    assert small[0]["verdict"] == "not testable here" and "comparable at scale paper only" in small[0]["why"]
    large = verdicts(
        tmp_path / "b",
        [test, test | {"above": 8.9}, test | {"above": 9.9}],
        {"table2": 3},
        value,
        scale="paper",
    )
    assert [claim["verdict"] for claim in large] == ["supported", "supported", "refuted"]
    assert large[2]["why"] == "the interval is below 9.9" and large[2]["numbers"] == large[0]["numbers"]
    # The paper's 78.1 against CLIP's 68.7.
    assert large[0]["verdict"] == "supported" and large[0]["numbers"][0]["value"] == pytest.approx(9.4)


def test_a_scale_that_checks_the_plumbing_gives_no_verdict(tmp_path: Path) -> None:
    tests: list[dict[str, Any]] = [
        {"table": "table6", "contrast": {"both": 1, "none": -1}},
        {"table": "table6", "ends": ["both", "converged"]},
    ]

    def value(row: str, column: str, seed: int) -> float:
        return 20 + 5 * (row == "both") + wobble(seed)

    assert [c["verdict"] for c in verdicts(tmp_path / "a", tests, {"table6": 3}, value)] == ["supported"] * 2
    claims = verdicts(tmp_path / "b", tests, {"table6": 3}, value, scale="smoke")
    assert [(c["verdict"], c["reason"], c["numbers"]) for c in claims] == [
        ("cannot tell", "plumbing", [])
    ] * 2
    folder = tmp_path / "b" / "ablations"
    plan = make_plan("smoke", folder, only=["table6"])
    values = judge(plan, tmp_path / "b" / "results", folder)
    write_ledger(plan.scale, values, pages_of(plan, folder)[CLAIMS], tmp_path)
    text = (tmp_path / "claims.md").read_text()
    assert "gives no verdict" in text and "## No verdict" in text
    for word in ("supported,", "refuted,", "## Supported", "## Refuted", "## Cannot tell"):
        assert word not in text


@pytest.mark.parametrize("scale", ["demo", "flickr8k", "paper"])
def test_other_scales_give_verdicts(scale: str) -> None:
    assert not plumbing_only(make_plan(scale, ABLATIONS))


def test_no_key_stands_in_a_sentence(tmp_path: Path) -> None:
    """Every claim of the ledger over results that decide nothing: rows and columns are called by their labels."""
    claims = [claim.model_dump(mode="json") for claim in read_claims(ABLATIONS)]
    plan = make_plan("demo", ABLATIONS)
    fill(plan, tmp_path / "results", lambda row, column, seed: 20.0 + len(row + column) % 5)
    actual = judge(plan, tmp_path / "results", ABLATIONS)["claims"]
    assert len(actual) == len(claims) and any(claim["numbers"] for claim in actual)
    for claim in actual:
        said = " ".join([claim["why"], *(number["text"] for number in claim["numbers"])])
        assert "_" not in said, said
        assert claim["shown_in"] in (
            "Localisation",
            "Table 8 search",
            *(f"Table {n}" for n in range(1, 10)),
            "Figure 6",
        )
        assert bool(claim["reason"]) == (claim["verdict"] in ("cannot tell", "not testable here"))


def test_missing_results_and_tables_are_said(tmp_path: Path) -> None:
    tests = [
        {"table": table, "contrast": {row: 1, than: -1}}
        for table, row, than in (("table7", "full", "no_predictor"), ("table9", "depth0", "depth2"))
    ]
    folder = own(tmp_path, tests, {})
    values = judge(make_plan("demo", folder, only=["table7"]), tmp_path / "results", folder)
    assert values["claims"][0]["why"] == "results are missing: MAMO, w/o predictor"
    assert values["claims"][1]["why"] == "Table 9 is not made at scale demo"
    assert len(values["missing"]) > 0


def test_the_page_says_why_and_is_known_by_its_digest(tmp_path: Path) -> None:
    test = {"table": "table6", "contrast": {"image": 1, "none": -1}}
    folder = own(tmp_path, [test], {"table6": 3})
    plan = make_plan("demo", folder, only=["table6"])
    fill(
        plan,
        tmp_path / "results",
        lambda row, column, seed: 20 + 5 * (row == "image") + wobble(seed) * (row == "image"),
    )
    page = pages_of(plan, folder)[CLAIMS]
    assert set(page.inputs) == set(plan.tables["table6"].inputs)
    write_ledger(plan.scale, judge(plan, tmp_path / "results", folder), page, tmp_path)
    text = (tmp_path / "claims.md").read_text()
    assert not page.stale(tmp_path) and "claims, 1 of them, at scale `demo`: 1 supported" in text
    assert text.index("## Supported") < text.index("so it is") < text.index("## Refuted")
    assert "MRM on image patches − no MRM: +5.0" in (tmp_path / "claims.csv").read_text()
    (folder / FILE).write_text((folder / FILE).read_text().replace("so it is", "so it was"))
    after = pages_of(plan, folder)
    assert (
        after[CLAIMS].stale(tmp_path) and after[OVERVIEW].digest != pages_of(plan, ABLATIONS)[OVERVIEW].digest
    )
    assert CLAIMS not in pages_of(make_plan("flickr8k", folder), folder), "no claim is tested there"


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ({}, "give one of contrast, rises, falls and ends"),
        ({"contrast": {"both": 1, "none": -1}, "ends": ["both", "diverged"]}, "give one of"),
        ({"contrast": {"both": 1, "none": -2}}, "sum to 0"),
        ({"contrast": {"both": 2, "none": -1, "chance": -1}}, "and so do those of several rows"),
        ({"contrast": {"chance": 1, "reported/clip": -1}}, "a contrast needs a row"),
        ({"rises": ["none", "both"]}, "three rows or more"),
    ],
)
def test_a_wrong_contrast_is_refused(tmp_path: Path, test: dict[str, Any], problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        read_claims(own(tmp_path, [{"table": "table6"} | test], {}))


def test_a_wrong_claim_is_named(tmp_path: Path) -> None:
    folder = own(tmp_path, [{"table": "table6", "contrst": {"both": 1, "none": -1}}], {})
    with pytest.raises(SpecError, match=r"claims.yaml: claims.0.test.contrst.*contrast"):
        read_claims(folder)
    folder = own(tmp_path / "b", [], {})
    (folder / FILE).write_text(
        yaml.safe_dump(
            {
                "claims": [
                    {
                        "key": "a",
                        "claim": "x",
                        "place": "y",
                        "test": {"table": "table7", "ends": ["full", "converged"]},
                    }
                ]
                * 2
            }
        )
    )
    with pytest.raises(SpecError, match="claim key given twice: a"):
        read_claims(folder)
