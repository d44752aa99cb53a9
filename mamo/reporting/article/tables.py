"""The article's tables: ours, chance and the paper's over the same columns, each number of ours with the run behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamo.reporting.differences import base_label, make_differences
from mamo.reporting.health import missed_checks
from mamo.reporting.publish import heading, reported
from mamo.reporting.tables import NONE, Line, Table, make_table
from mamo.reporting.values import TableValues, best_rows
from mamo.specs.plan import TablePlan

# Columns that fit across a page beside the labels of the rows.
WIDE = 8
FIRST = "R@1"


def article_table(table: TablePlan, values: TableValues, ablations: Path) -> dict[str, Any]:
    """Return one table of the article as plain JSON values.

    Args:
        values: from ``collect``.

    Returns:
        ``name``, ``title``, ``heading`` (the title with the paper's number), ``question``, ``expected``, ``columns``, ``rows``
        (see ``_rows``), ``legend``, ``lengths``, ``left_out`` (columns that did not fit), ``notes``, and ``gaps``: the same for
        the differences from the base row, or None.
    """
    ablation = table.ablation
    paper = reported(ablation, ablations)
    shown = make_table(ablation, values, paper)
    columns = choose_columns(shown)
    gaps = make_differences(ablation, values, paper)
    notes = [*ablation.notes, *dict.fromkeys(column.note for column in ablation.columns if column.note)]
    return {
        "name": ablation.name,
        "title": ablation.title,
        "heading": heading(ablation),
        "question": ablation.question,
        "expected": ablation.hypothesis,
        "columns": _columns(shown, columns),
        "rows": _rows(shown, columns, _behind(values), best_rows(values), paper.heading if paper else ""),
        "legend": [f"{sign} {meaning}" for sign, meaning in shown.legend.items()],
        "lengths": " ".join(values.lengths),
        "left_out": [h.text for i, h in enumerate(shown.headings) if i not in columns],
        "notes": [
            *notes,
            *(paper.notes if paper else ()),
            *(f"Checks missed by {line}." for line in missed_checks(ablation, values)),
        ],
        "gaps": _gaps(gaps, base_label(ablation)) if gaps else None,
    }


def choose_columns(table: Table) -> list[int]:
    """Choose the columns to show: recall at 1 first, and only it if not all fit; never empty columns."""
    lines = [*table.ours, *table.reported, *([table.chance] if table.chance else [])]
    filled = [i for i, _ in enumerate(table.headings) if any(line.texts[i] != NONE for line in lines)]
    first = [i for i in filled if FIRST in table.headings[i].text.split()]
    if first and len(filled) > WIDE:
        return first
    return [*first, *(i for i in filled if i not in first)]


def _columns(table: Table, columns: Sequence[int]) -> list[dict[str, str]]:
    return [{"label": table.headings[i].label, "group": table.headings[i].group} for i in columns]


def _rows(
    table: Table,
    columns: Sequence[int],
    behind: Mapping[tuple[str, str], str],
    best: Mapping[str, set[str]],
    reported_heading: str = "",
) -> list[dict[str, Any]]:
    """Return ``{whose, label, cells}``; a cell is ``{text, run, best}`` with the key of the run behind it if it is ours."""

    def row(source: str, line: Line) -> dict[str, Any]:
        cells = []
        for i in columns:
            column = table.headings[i].key
            run = behind.get((line.key, column)) if source == "ours" else None
            top = source == "ours" and line.key in best.get(column, ())
            cells.append({"text": line.texts[i], "run": run, "best": top})
        return {"whose": source, "label": line.label, "cells": cells}

    chance = [row("chance", table.chance)] if table.chance else []
    return [
        *(row("ours", line) for line in table.ours),
        *chance,
        *(row("paper", line) | {"heading": reported_heading} for line in table.reported),
    ]


def _behind(values: TableValues) -> dict[tuple[str, str], str]:
    """Map (row, column) -> the first run behind the number; runs of other seeds are listed with it."""
    return {place: seeds[0].run for place, seeds in values.by_cell.items()}


def _gaps(gaps: Table, base: str) -> dict[str, Any]:
    columns = choose_columns(gaps)
    # An interval takes as much space as three numbers.
    columns = columns[: WIDE // 2]
    left_out = [h.text for i, h in enumerate(gaps.headings) if i not in columns]
    return {
        "base": base,
        "columns": _columns(gaps, columns),
        "rows": _rows(gaps, columns, {}, {}, "The paper's differences"),
        "left_out": left_out,
    }
