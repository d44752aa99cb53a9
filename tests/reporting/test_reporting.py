"""From records to published tables."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from table_values import RETRIEVAL, statistics, write_record

from mamo.reporting.collect import collect, read_values, write_results, write_values
from mamo.reporting.differences import differences_section, make_differences
from mamo.reporting.latex import escape_latex as escape_latex
from mamo.reporting.latex import latex_table
from mamo.reporting.pages import OVERVIEW, pages_of
from mamo.reporting.paper import PaperTable
from mamo.reporting.publish import caveat, heading, publish, reported
from mamo.reporting.tables import alike_rows, make_table
from mamo.reporting.values import CellStatistics, TableValues
from mamo.specs.ablation import AblationSpec, read_ablation
from mamo.specs.plan import Plan, make_plan
from mamo.specs.scale import read_scale

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def test_differences_stand_beside_the_papers(plan: Plan) -> None:
    """Table 7: one row 10 below the base row, told apart, one 0.2 above it and not; the paper's are -1.0 and a divergence."""
    ablation = plan.tables["table7"].ablation
    assert ablation.base_row == "full"

    def line(row: str, value: float, half: float, p: float) -> CellStatistics:
        bounds = {"difference_lower": value - half, "difference_upper": value + half}
        return statistics(row, against="full", difference=value, difference_p=p, **bounds)

    lines = (statistics("full"), line("no_predictor", -10.0, 3.0, 0.001), line("no_ema", 0.2, 2.0, 0.8))
    values = TableValues(table="table7", statistics=lines)
    paper = reported(ablation, ABLATIONS)
    gaps = make_differences(ablation, values, paper)
    assert gaps is not None and [h.key for h in gaps.headings] == ["coco_tr"]
    assert {line.key: line.texts for line in gaps.ours} == {
        "no_predictor": ("−10.0 [−13.0, −7.0]",),
        "no_ema": ("+0.2 [−1.8, +2.2] ≈",),
    }
    assert {line.key: line.texts for line in gaps.reported} == {"no_predictor": ("−1.0",), "no_ema": ("–",)}
    assert alike_rows(values) == {"no_ema"}
    text = " ".join(differences_section(ablation, values, gaps, paper).split())
    assert "test images and training seeds (3 per row)" in text and "on the same test images" in text
    # The paper's one difference, 1.0, is smaller than our 3.0.
    assert "1 of the paper's 1 differences here are smaller" in text and "(3.0 to 3.0 points)" in text
    alone = tuple(entry.model_copy(update={"seeds": 1}) for entry in lines)
    one = TableValues(table="table7", statistics=alone)
    assert "**One seed:**" in " ".join(differences_section(ablation, one, gaps, paper).split())
    assert make_differences(ablation, TableValues(table="table7"), paper) is None, (
        "values of an earlier version have no statistics"
    )


@pytest.fixture
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS, only=["table7"])


@pytest.fixture
def results(plan: Plan, tmp_path: Path) -> Path:
    """Table 7 with a full model, one that diverged, and one whose VQA is still missing."""
    table = plan.tables["table7"]
    diverged = table.pretrainings["no_ema"][0]
    missing = next(c.runs[0] for c in table.cells if (c.row, c.column) == ("no_predictor", "vqa"))
    retrieval = {"tr_r1": 61.25, "ir_r1": 50.0, "chance/tr_r1": 0.5}
    for key in table.inputs:
        run = plan.runs[key]
        if key == missing:
            continue
        if run.kind == "pretrain":
            write_record(plan, key, tmp_path, "diverged" if key == diverged else "converged", loss=1.0)
        elif run.inputs["init"] == diverged:
            write_record(plan, key, tmp_path, "skipped")
        else:
            write_record(
                plan,
                key,
                tmp_path,
                **({"accuracy": 70.0, "chance/accuracy": 36.0} if "vqa" in key else retrieval),
            )
    return tmp_path


def test_collected_values_name_run_outcome_and_chance(plan: Plan, results: Path, tmp_path: Path) -> None:
    values = collect(plan, plan.tables["table7"], results)
    assert len(values.by_cell) == len(values.cells) == 15
    (full,), (skipped,) = values.at("full", "coco_tr"), values.at("no_ema", "vqa")
    (missing,) = values.at("no_predictor", "vqa")
    assert (full.value, full.chance) == (61.25, 0.5)
    assert (skipped.value, skipped.outcome) == (None, "skipped")
    assert (missing.value, missing.outcome) == (None, "missing")
    assert values.missing == (missing.run,)
    assert values.pretrainings["no_ema"][0].outcome == "diverged"
    path = tmp_path / "deep" / "values.json"
    write_values(values, path)
    assert read_values([path]) == ({"table7": values}, None)
    assert list(json.loads(path.read_text())) == [
        *(
            "table",
            "scale",
            "cells",
            "statistics",
            "agreement",
            "lengths",
            "pretrainings",
            "missed",
            "missing",
        )
    ]
    write_results([values], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 15
    assert lines[0]["run"].startswith("finetune/") and lines[0]["outcome"] == "converged"


def test_a_metric_that_a_run_did_not_record_is_named(plan: Plan, tmp_path: Path) -> None:
    for key in plan.tables["table7"].inputs:
        write_record(plan, key, tmp_path, accuracy=1.0)
    with pytest.raises(KeyError, match="recorded no 'tr_r1' .it has accuracy"):
        collect(plan, plan.tables["table7"], tmp_path)


PAPER = {
    "table": "table7",
    "caption": "c",
    "columns": [
        {"key": "vqa", "label": "test-dev", "group": "VQA"},
        {"key": "vqa_std", "label": "test-std", "group": "VQA"},
        {"key": "coco_tr", "label": "TR", "group": "MSCOCO"},
    ],
    "rows": [
        {
            "key": "other",
            "label": "A|B_C",
            "note": "4M",
            "values": {"vqa": 74.8, "vqa_std": 74.25, "coco_tr": None},
        },
        {
            "key": "no_ema",
            "label": "w/o",
            "outcome": "diverged",
            "values": {"vqa": None, "vqa_std": None, "coco_tr": None},
        },
    ],
}


def test_ours_and_the_papers_stand_under_the_same_columns(plan: Plan, results: Path) -> None:
    table = plan.tables["table7"]
    shown = make_table(table.ablation, collect(plan, table, results), PaperTable.model_validate(PAPER))
    keys = [h.key for h in shown.headings]
    assert keys[:3] == ["vqa", "vqa_std", "coco_tr"] and sorted(keys[3:]) == [
        "coco_ir",
        "flickr30k_ir",
        "flickr30k_tr",
    ]
    ours = {line.key: dict(zip(keys, line.texts, strict=True)) for line in shown.ours}
    assert ours["full"] == {
        "vqa": "70.0",
        "vqa_std": "–",
        "coco_tr": "61.2",
        "coco_ir": "50.0",
        "flickr30k_tr": "61.2",
        "flickr30k_ir": "50.0",
    }
    assert set(ours["no_ema"].values()) == {"×", "–"}
    assert ours["no_predictor"]["vqa"] == "…"
    assert shown.chance is not None
    assert dict(zip(keys, shown.chance.texts, strict=True)) == {
        "vqa": "36.0",
        "vqa_std": "–",
        "coco_tr": "0.5",
        "coco_ir": "–",
        "flickr30k_tr": "0.5",
        "flickr30k_ir": "–",
    }
    reported = {line.key: line for line in shown.reported}
    assert reported["other"].label == "A|B_C (4M)"
    assert reported["other"].texts[:3] == ("74.8", "74.25", "–")
    assert set(reported["no_ema"].texts) == {"×"}
    assert set(shown.legend) == {"×", "…"}


def test_a_page_keeps_ours_and_the_papers_apart(plan: Plan, results: Path, tmp_path: Path) -> None:
    page, table, reports = pages_of(plan, ABLATIONS)["table7"], plan.tables["table7"], tmp_path / "reports"
    publish(plan, table, collect(plan, table, results), page, reports, ABLATIONS)
    text = (reports / "table7.md").read_text()
    assert text.splitlines()[0] == page.mark and not page.stale(reports)
    order = [
        text.index(part)
        for part in ("Scale `smoke`", "**Question.**", "## Ours", "Chance", "## As reported in the paper")
    ]
    assert order == sorted(order)
    ours, reported = text[order[2] : order[4]], text[order[4] :]
    assert "61.2" in ours and "95.5" not in ours
    assert "95.5" in reported and "61.2" not in reported
    assert "(diverged: NaN)" in text and table.pretrainings["full"][0] in text
    with (reports / "table7.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == ["ours"] * 15 + ["chance"] * 3 + ["paper"] * 15
    actual = {(row["source"], row["key"], row["column"]): row for row in rows}
    assert actual["ours", "full", "coco_tr"]["value"] == "61.25", "a number, not a text with its interval"
    assert actual["ours", "full", "coco_tr"]["heading"] == "MSCOCO TR"
    assert (
        actual["ours", "no_ema", "vqa"]["value"] == ""
        and actual["ours", "no_ema", "vqa"]["outcome"] == "skipped"
    )
    for row in rows:
        assert all(row[name] == "" or float(row[name]) >= 0 for name in ("value", "low", "high", "seeds"))
    (reports / "table7.md").write_text(text.replace(page.digest, "0123456789"))
    assert page.stale(reports)


def test_a_row_whose_training_diverged_and_went_on_is_marked_beside_its_numbers(tmp_path: Path) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table7"], seeds=2)
    page, table, reports = pages_of(plan, ABLATIONS)["table7"], plan.tables["table7"], tmp_path / "reports"
    # Of both seeds without the EMA, and of one without the predictor, whose other seed has stopped and has no numbers.
    went_on = {*table.pretrainings["no_ema"], table.pretrainings["no_predictor"][1]}
    stopped = table.pretrainings["no_predictor"][0]
    for key in table.inputs:
        run, init = plan.runs[key], plan.runs[key].inputs.get("init")
        if init == stopped:
            write_record(plan, key, tmp_path, "skipped")
        else:
            metrics = {"accuracy": 70.0} if "vqa" in key else {"tr_r1": 61.25, "ir_r1": 50.0}
            status = "diverged" if key in {*went_on, stopped} else "converged"
            write_record(plan, key, tmp_path, status, **(metrics if run.kind == "finetune" else {}))
    values = collect(plan, table, tmp_path)
    shown = make_table(table.ablation, values, None)
    labels = {line.key: line.label for line in shown.ours}
    assert labels["full"] == "MAMO"
    assert labels["no_ema"] == "w/o EMA update × ≈"
    assert labels["no_predictor"] == "w/o predictor (1 of 2 ×)"
    texts = {line.key: line.texts for line in shown.ours}
    assert texts["no_ema"] == texts["full"], "its numbers are shown"
    assert "(1 of 2 ×)" in texts["no_predictor"][0], (
        "and a seed without numbers is counted in the cell, as before"
    )
    assert shown.legend["×"].startswith("the run diverged; behind a row's name: ")
    publish(plan, table, values, page, reports, ABLATIONS)
    for name, mark in (("table7.md", "w/o EMA update ×"), ("table7.tex", r"w/o EMA update $\times$")):
        text = " ".join((reports / name).read_text().split())
        assert mark in text and "its numbers are those of the diverged model" in text
        assert "10 steps of 8 pairs" in text and "In the paper: 10 epochs" in text
    with (reports / "table7.csv").open() as file:
        outcomes = {row["key"]: row["outcome"] for row in csv.DictReader(file) if row["source"] == "ours"}
    assert outcomes == {"full": "converged", "no_ema": "diverged", "no_predictor": "diverged"}


def test_pages_of_a_scale_with_a_protocol_link_it() -> None:
    study, smoke = (read_scale(name, ABLATIONS) for name in ("study", "smoke"))
    link = "[protocol](../../docs/protocol.md)"
    assert link in caveat(study) and link not in caveat(smoke)
    assert caveat(smoke.model_copy(update={"caveat": None})) == ""


def test_a_page_lists_the_rows_that_miss_checks(plan: Plan, results: Path, tmp_path: Path) -> None:
    page, table, reports = pages_of(plan, ABLATIONS)["table7"], plan.tables["table7"], tmp_path / "reports"
    publish(plan, table, collect(plan, table, results), page, reports, ABLATIONS)
    assert "## Checks that rows miss" not in (reports / "table7.md").read_text()
    (pretraining,) = table.pretrainings["full"]
    jobs = dict.fromkeys(cell.runs[0] for cell in table.cells if cell.row == "full")
    for key, passed in (
        (pretraining, {"teacher": False, "losses": True}),
        *((key, {"metrics": key != next(iter(jobs))}) for key in jobs),
    ):
        path = plan.runs[key].record(results)
        checks = [{"check": name, "passed": good, "says": "so"} for name, good in passed.items()]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"checks": checks}))
    publish(plan, table, collect(plan, table, results), page, reports, ABLATIONS)
    text = (reports / "table7.md").read_text()
    listed = text.partition("## Checks that rows miss\n\n")[2].partition("\n\n")[0]
    assert listed == f"- MAMO: teacher (its one run), metrics (1 of {len(jobs)} runs)"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="TeX is not installed")
def test_latex_compiles(plan: Plan, results: Path, tmp_path: Path) -> None:
    table, page = plan.tables["table7"], pages_of(plan, ABLATIONS)["table7"]
    publish(plan, table, collect(plan, table, results), page, tmp_path / "reports", ABLATIONS)
    text = (tmp_path / "reports" / "table7.tex").read_text()
    assert "Table 7" not in text
    packages = "".join(rf"\usepackage{{{name}}}" for name in ("booktabs", "multirow", "graphicx"))
    # Four data sets side by side, wider than a page: a table* that is scaled down.
    lines = {
        name: tuple(replace(line, texts=line.texts * 4) for line in getattr(RETRIEVAL, name))
        for name in ("ours", "reported")
    }
    broad = replace(RETRIEVAL, headings=RETRIEVAL.headings * 4, chance=None, **lines)
    wide = latex_table(broad, "Wide.", "tab:wide", bold=True)
    assert r"\begin{table*}" in wide
    (tmp_path / "a.tex").write_text(
        rf"\documentclass[twocolumn]{{article}}{packages}\begin{{document}}{text}{wide}\end{{document}}"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "a.tex"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout, "nothing sticks out of its column"


def test_statistics_stand_beside_the_papers(tmp_path: Path) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table10"])
    for number, key in enumerate(plan.tables["table10"].inputs, start=1):
        write_record(plan, key, tmp_path)
        counts = {"train": {"images": 1000 * number, "records": 5000 * number}}
        manifest = {"dataset": plan.runs[key].name, "splits": counts}
        (plan.runs[key].directory(tmp_path) / "manifest.json").write_text(json.dumps(manifest))
    table, page = plan.tables["table10"], pages_of(plan, ABLATIONS)["table10"]
    publish(plan, table, collect(plan, table, tmp_path), page, tmp_path / "reports", ABLATIONS)
    text = " ".join((tmp_path / "reports" / "table10.md").read_text().split())
    assert "| images | 1,000 | 2,000 | 3,000 | 4,000 |" in text and "| texts | 5,000 |" in text
    assert "| images | 113,000 |" in text


def test_a_page_depends_on_the_papers_numbers(plan: Plan, tmp_path: Path) -> None:
    own = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations"))
    path = next((own / "paper").rglob("table7.yaml"))
    path.write_text(path.read_text() + "# another edition\n")
    before, after = pages_of(plan, ABLATIONS), pages_of(plan, own)
    assert before["table7"].digest != after["table7"].digest
    assert before[OVERVIEW].digest != after[OVERVIEW].digest


@pytest.mark.parametrize("path", sorted(ABLATIONS.glob("*.yaml")), ids=lambda path: path.stem)
def test_our_keys_are_the_papers(path: Path) -> None:
    ablation: AblationSpec = read_ablation(path.stem, ABLATIONS)
    paper = reported(ablation, ABLATIONS)
    if paper is None:
        own = (
            "albef_extras",
            "flickr8k_zero_shot",
            "heat_layers",
            "localisation",
            "masked_units",
            "readings",
            "table8_search",
        )
        assert path.stem in ("figure6", *own)
        return
    if path.stem == "flickr8k":  # beside other papers' numbers, and with columns that none of them has
        assert paper.heading.startswith("Reported by others")
        assert {c.key for c in ablation.columns if not c.key.startswith("itc_")} == {
            c.key for c in paper.columns
        }
        assert heading(ablation) == ablation.title
        return
    assert {c.key for c in ablation.columns} <= {c.key for c in paper.columns}
    if ablation.name in ("table5", "table6", "table7", "table8", "table9"):
        assert [row.key for row in ablation.rows] == [row.key for row in paper.rows]
    assert heading(ablation).startswith(f"Table {path.stem.removeprefix('table')}: ")
