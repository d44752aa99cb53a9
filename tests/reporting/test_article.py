"""The article: every number is in it and leads to its run, what is missing is said, and it compiles alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from site_records import HOSTILE, write_records

from mamo.cli.main import main
from mamo.reporting.article.build import CONTENT, TEMPLATE, write_article
from mamo.reporting.article.content import content
from mamo.reporting.article.tables import WIDE, choose_columns
from mamo.reporting.claims import judge
from mamo.reporting.collect import collect
from mamo.reporting.findings import APART, VERDICTS
from mamo.reporting.tables import Heading, Line, Table
from mamo.specs.plan import Plan, make_plan

ROOT = Path(__file__).resolve().parents[2]
ABLATIONS = ROOT / "ablations"


def say(plan: Plan, results: Path, reports: Path) -> dict[str, Any]:
    values = {name: collect(plan, table, results) for name, table in plan.tables.items()}
    claims = judge(plan, results, ABLATIONS)["claims"]
    return content(plan, values, claims, results, reports, ABLATIONS, ROOT / "docs/deviations.md")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, dict[str, Any], Path]:
    folder = tmp_path_factory.mktemp("article")
    plan = make_plan("smoke", ABLATIONS, only=["table4", "localisation", "figure1"])
    results, reports = folder / "results", folder / "reports"
    write_records(plan, results)
    reports.mkdir()
    Image.new("RGB", (300, 200), "teal").save(reports / "figure1.png")
    return plan, say(plan, results, reports), reports


def text_of(said: dict[str, Any], reports: Path, folder: Path) -> str:
    """The article's words, through Typst's HTML, whose targets of links stay."""
    typst = pytest.importorskip("typst")
    (folder / TEMPLATE.name).write_text(TEMPLATE.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / CONTENT).write_text(json.dumps(said), encoding="utf-8")
    for figure in said["figures"]:
        (folder / figure["file"]).write_bytes((reports / figure["file"]).read_bytes())
    compiler = typst.Compiler(folder / TEMPLATE.name, root=folder, ignore_system_fonts=True)
    return str(compiler.compile(format="html").decode())


def test_it_compiles_to_the_same_pdf_without_fonts_of_the_system(
    made: tuple[Plan, dict[str, Any], Path], tmp_path: Path
) -> None:
    pytest.importorskip("typst")
    _, said, reports = made
    for name in ("one.pdf", "other.pdf"):
        write_article(said, reports, tmp_path / name)
    data = (tmp_path / "one.pdf").read_bytes()
    assert data.startswith(b"%PDF-") and data == (tmp_path / "other.pdf").read_bytes()


def test_every_number_leads_to_the_run_that_recorded_it(made: tuple[Plan, dict[str, Any], Path]) -> None:
    plan, said, _ = made
    table = next(t for t in said["tables"] if t["name"] == "table4")
    runs = {run["number"]: run["key"] for run in said["runs"]}
    assert len(runs) == len(plan.whole)
    ours = [row for row in table["rows"] if row["whose"] == "ours"]
    numbers = [cell for row in ours for cell in row["cells"] if re.match(r"\d", cell["text"])]
    assert numbers
    for cell in numbers:
        # write_records gives each run a number of its own: 30 and its place in the plan.
        place = list(plan.runs).index(runs[cell["run"]])
        assert cell["text"].startswith(f"{30 + place:.1f}")
    paper = [cell for row in table["rows"] if row["whose"] == "paper" for cell in row["cells"]]
    assert any(cell["text"] == "61.90" for cell in paper) and not any(cell["run"] for cell in paper)


def test_the_document_holds_what_the_content_says(
    made: tuple[Plan, dict[str, Any], Path], tmp_path: Path
) -> None:
    _, said, reports = made
    text = text_of(said, reports, tmp_path)
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text))
    for table in said["tables"]:
        for row in table["rows"]:
            for cell in row["cells"]:
                assert cell["text"] in plain
    for word in (
        "Question",
        "Method in brief",
        "Settings",
        "Deviations",
        "Verdicts",
        "Cost",
        "Provenance",
        "abc123",
    ):
        assert word in plain
    assert "<b>cat</b>" not in text and "window.hacked" in plain, HOSTILE
    assert said["runs"][0]["key"] in plain
    # Every link inside of the document leads to something in it.
    targets = set(re.findall(r'href="#([^"]+)"', text))
    assert targets and targets <= set(re.findall(r'id="([^"]+)"', text))


def test_the_main_results_come_first_and_open_claims_in_the_appendix(
    made: tuple[Plan, dict[str, Any], Path], tmp_path: Path
) -> None:
    _, said, reports = made
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text_of(said, reports, tmp_path)))
    assert [row["table"] for row in said["headline"]["rows"]] == ["table4", "localisation", "localisation"]
    assert plain.index("Main results") < plain.index("Method in brief") < plain.index("Table 4")
    counted = sum(len(section["entries"]) for section in said["claims"])
    assert counted > 20 and {section["verdict"] for section in said["claims"]} == set(VERDICTS)
    appendix = plain.index("Claims without a verdict")
    for section in said["claims"]:
        for entry in section["entries"]:
            words = re.sub(r"\s+", " ", entry["claim"])
            assert (plain.index(words) > appendix) == (section["verdict"] in ("cannot tell", APART))


def test_the_best_of_ours_is_marked_in_each_column(made: tuple[Plan, dict[str, Any], Path]) -> None:
    _, said, _ = made
    table = next(t for t in said["tables"] if t["name"] == "table4")
    ours = [row["cells"] for row in table["rows"] if row["whose"] == "ours"]
    for column in zip(*ours, strict=True):
        values = [float(cell["text"].split()[0]) for cell in column]
        assert [cell["best"] for cell in column] == [value == max(values) for value in values]


def test_cost_is_the_sum_of_what_the_records_say(made: tuple[Plan, dict[str, Any], Path]) -> None:
    plan, said, _ = made
    whole = said["cost"][-1]
    assert whole["kind"] == "all" and whole["done"] == whole["planned"] == len(plan.whole)
    assert whole["processor time"] == 200.0 * len(plan.whole)


def test_what_is_missing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table4", "figure1"])
    said = say(plan, tmp_path / "none", tmp_path)
    assert set(said["missing"]) == plan.whole and len(said["undrawn"]) == 1
    assert {
        cell["text"] for row in said["tables"][0]["rows"] if row["whose"] == "ours" for cell in row["cells"]
    } == {"…"}
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", text_of(said, tmp_path, tmp_path)))
    assert f"{len(plan.whole)} of {len(plan.whole)} runs have no result yet" in plain
    assert "No figure is drawn yet" in plain


def test_the_command_writes_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("typst")
    monkeypatch.chdir(ROOT)
    folders = [
        "--scale",
        "smoke",
        "--results",
        str(tmp_path / "results"),
        "--reports",
        str(tmp_path / "reports"),
    ]
    out = tmp_path / "deep/article.pdf"
    assert main(["paper", *folders, "--out", str(out)]) == 0
    assert out.read_bytes().startswith(b"%PDF-") and "have no record yet" in capsys.readouterr().out
    assert main(["paper", *folders, "--out", str(tmp_path / "article.txt")]) == 2
    assert "ends with .pdf" in capsys.readouterr().err


def test_recall_at_1_comes_first_and_alone_where_all_would_not_fit() -> None:
    def table(count: int) -> Table:
        labels = ["TR R@10", "TR R@1", *(f"c{i}" for i in range(count - 3)), "IR R@1"]
        line = Line("a", "A", tuple("1.0" for _ in labels))
        return Table(tuple(Heading(label, label, "") for label in labels), (line,), None, ())

    assert choose_columns(table(4)) == [1, 3, 0, 2]
    assert choose_columns(table(WIDE + 1)) == [1, WIDE]
