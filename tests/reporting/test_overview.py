"""A scale's overview: the main results, the drawn figure, and links to everything."""

from __future__ import annotations

import csv
from pathlib import Path

from table_values import filled, write_record

from mamo.reporting.claims import judge
from mamo.reporting.collect import collect
from mamo.reporting.headline import headline, headline_table
from mamo.reporting.latex import escape_latex as escape_latex
from mamo.reporting.ledger import write_ledger
from mamo.reporting.overview import write_overview
from mamo.reporting.pages import CLAIMS, INDEX, OVERVIEW, pages_of
from mamo.reporting.publish import publish
from mamo.reporting.tracked import write_curves
from mamo.specs.plan import make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def test_headlines_of_photographs_are_told_apart(tmp_path: Path) -> None:
    plan = make_plan("flickr8k", ABLATIONS)
    titles = {line.table: line.title for line in headline(plan, filled(plan, tmp_path), ABLATIONS)}
    assert list(titles) == ["flickr8k", "flickr8k_zero_shot"] and len(set(titles.values())) == 2


def test_the_headline_has_both_models_and_chance(tmp_path: Path) -> None:
    plan = make_plan("demo", ABLATIONS, only=["table1", "table4", "table5"])
    values = filled(plan, tmp_path)
    lines = headline(plan, values, ABLATIONS)
    assert [(line.table, line.group) for line in lines] == [
        ("table1", "MSCOCO"),
        ("table1", "Flickr30K"),
        ("table4", "RefCOCO+"),
    ]
    assert lines[0].labels == ["TR", "IR R@1"] and lines[0].chance == ["0.5", "0.5"]
    assert lines[0].models == {"mamo": ["44.0", "44.0"], "albef_style": ["51.0", "51.0"]}
    assert "[Fine-tuned image-text retrieval](table1.md): MSCOCO, TR / IR R@1" in headline_table(lines)
    assert headline(plan, {"table5": values["table5"]}, ABLATIONS) == [] and headline_table([]) == ""


def test_the_figure_is_drawn_and_the_overview_shows_everything(tmp_path: Path) -> None:
    plan = make_plan("smoke", ABLATIONS, only=["table7", "figure6"])
    for key in {key for table in plan.tables.values() for key in table.inputs}:
        text25 = plan.tables["figure6"].pretrainings["text15"][0]
        if key == text25:
            write_record(plan, key, tmp_path, "diverged")
        elif plan.runs[key].inputs.get("init") == text25:
            write_record(plan, key, tmp_path, "skipped")
        else:
            write_record(plan, key, tmp_path, tr_r1=1.0, ir_r1=2.0, mean_recall=30.0, accuracy=40.0)
    pages, reports = pages_of(plan, ABLATIONS), tmp_path / "reports"
    values = {name: collect(plan, table, tmp_path) for name, table in plan.tables.items()}
    for name, table in plan.tables.items():
        publish(plan, table, values[name], pages[name], reports, ABLATIONS)
    assert (reports / "figure6.png").read_bytes().startswith(b"\x89PNG")
    svg = (reports / "figure6.svg").read_bytes()
    publish(plan, plan.tables["figure6"], values["figure6"], pages["figure6"], reports, ABLATIONS)
    assert (reports / "figure6.svg").read_bytes() == svg, "the same values give the same file"
    claims = judge(plan, tmp_path, ABLATIONS)
    write_ledger(plan.scale, claims, pages[CLAIMS], reports)
    write_overview(plan, values, claims["claims"], pages[OVERVIEW], reports, ABLATIONS)
    shown = plan.runs[plan.tables["table7"].pretrainings["full"][0]]
    (shown.directory(tmp_path) / "curve.csv").write_text("step,loss\n0,2.5\n10,1.25\n")
    left = reports / "curves/no_longer_planned.csv"
    left.parent.mkdir()
    left.touch()
    write_curves(plan, tmp_path, reports)
    assert (
        reports / f"curves/{shown.name}.csv"
    ).read_text() == "step,loss\n0,2.5\n10,1.25\n" and not left.exists()
    with (reports / "statistics.csv").open() as file:
        assert {row["table"] for row in csv.DictReader(file)} == {"table7", "figure6"}
    text = (reports / "README.md").read_text()
    assert "(table7.md)" in text and "(figure6.png)" in text and "Scale `smoke`" in text
    assert text.index("The paper's claims") < text.index("(table7.md)"), "the report opens with the claims"
    assert "The more words are masked" in text
    assert not pages[OVERVIEW].stale(reports)
    for name, page in pages.items():
        assert name == INDEX or all((reports / file).is_file() for file in page.files)
