"""Numbers and texts of tables as Markdown, LaTeX and CSV write them."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path

import pytest
from table_values import RETRIEVAL, cell, statistics

from mamo.reporting.collect import write_results
from mamo.reporting.latex import escape_latex as escape_latex
from mamo.reporting.latex import latex_table
from mamo.reporting.markdown import bullet, markdown_table, wrapped
from mamo.reporting.tables import Heading, Line, Table, primary, select_columns, show
from mamo.reporting.values import SeedValue, TableValues


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ([], "–"),
        ([cell(71.94)], "71.9"),
        ([cell(None, "missing")], "…"),
        ([cell(None, "diverged")], "×"),
        ([cell(None, "skipped")], "×"),
        ([cell(float("nan"))], "×"),
        ([cell(70.0), cell(74.0)], "72.0"),
        ([cell(70.0), cell(74.0), cell(None, "diverged")], "72.0 (1 of 3 ×)"),
        ([cell(70.0), cell(None, "missing")], "70.0 (1 …)"),
        ([cell(None, "skipped"), cell(None, "skipped")], "×"),
        ([cell(1234)], "1,234"),
    ],
)
def test_a_cell_says_what_became_of_its_runs(cells: list[SeedValue], text: str) -> None:
    assert show(cells, 1) == text


def test_a_cell_shows_half_its_interval_where_it_has_one() -> None:
    line = statistics("a", mean_lower=69.0, mean_upper=75.4)
    assert show([cell(70.0), cell(74.0)], 1, line) == "72.0 ± 3.2"
    assert show([cell(70.0), cell(74.0), cell(None, "diverged")], 1, line) == "72.0 ± 3.2 (1 of 3 ×)"
    assert show([cell(50.0)], 1, statistics("a", mean_lower=50.0, mean_upper=50.0)) == "50.0", (
        "nothing was resampled"
    )


def test_texts_are_escaped_in_every_format() -> None:
    headings = (Heading("x", "TR_1", "A&B"), Heading("y", "50 %", ""))
    table = Table(
        headings, (Line("a", "a|b", ("1.0", "×")),), None, (Line("b", r"\c {d} #1 $", ("–", "2.50")),)
    )
    markdown = markdown_table(headings, table.ours)
    assert r"| a\|b" in markdown and all(
        line.count("|") - line.count(r"\|") == 4 for line in markdown.splitlines()
    )
    latex = latex_table(table, "50 % & more", "tab:x")
    assert (
        r"A\&B" in latex
        and r"TR\_1" in latex
        and r"50 \%" in latex
        and r"$\times$" in latex
        and "2.50" in latex
    )
    assert (
        escape_latex(r"\c {d} #1 $ ~^")
        == r"\textbackslash{}c \{d\} \#1 \$ \textasciitilde{}\textasciicircum{}"
    )


def test_latex_leaves_the_number_to_latex_and_prints_the_best_value_bold(tmp_path: Path) -> None:
    text = latex_table(RETRIEVAL, "Ablation.", "tab:x", bold=True)
    assert r"\textbf{57.8} $\pm$ 4.3" in text, "57.8 is more than 9.9, and chance is no competitor"
    assert text.count(r"\textbf") == 1, "neither a tie nor a column with one value has a best"
    assert r"\cline" not in text and text.count(r"\midrule") == 2
    assert text.index(r"\midrule", text.index("Chance")) < text.index(
        "{reported}" if "{reported}" in text else "reported"
    )
    assert r"\begin{table}" in text
    wide = replace(
        RETRIEVAL,
        headings=RETRIEVAL.headings * 5,
        ours=tuple(replace(line, texts=line.texts * 5) for line in RETRIEVAL.ours),
        chance=None,
        reported=(),
    )
    text = latex_table(wide, "Ablation.", "tab:x")
    assert r"\begin{table*}" in text


def test_the_columns_that_count_come_first() -> None:
    first = primary(RETRIEVAL.headings)
    assert first == [True, False, False]
    assert [line.texts for line in select_columns(RETRIEVAL, first).ours] == [("57.8 ± 4.3",), ("9.9 ± 1.0",)]
    alone = (Heading("a", "R@5", ""), Heading("b", "val", "RefCOCO+"))
    assert primary(alone) == [True, True], "without an R@1, R@5 is all there is"


def test_results_have_the_digits_that_they_can_have(tmp_path: Path) -> None:
    values = TableValues(table="t", cells=(cell(79.60000000000001, chance=0.2000000000006552),))
    write_results([values], tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        (line,) = csv.DictReader(file)
    assert (line["value"], line["chance"]) == ("79.6", "0.2")


def test_wrapped_lines_never_become_markup() -> None:
    text = "word " * 23 + "- not a list 1. nor this # nor a heading " + "more " * 30
    lines = wrapped(text).splitlines()
    assert max(map(len, lines)) < 140 and len(lines) > 1 and " ".join(lines).split() == text.split()
    for width in range(60, 120):
        shifted = "x" * width + " " + "y" * (118 - width) + " - a 2. b > c"
        assert not any(re.match(r"([-+*>#]|\d+\.)\s", line) for line in wrapped(shifted).splitlines())
    assert bullet("a " * 100).splitlines()[1].startswith("  a"), "a list's entry goes on below its text"
