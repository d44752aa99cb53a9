"""Prepare tables for the page: for every cell our value, the paper's, the difference, and the runs behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.reporting.agreement import agreement_text
from mamo.reporting.claims import plumbing_only
from mamo.reporting.names import column_names
from mamo.reporting.paper import PaperTable
from mamo.reporting.publish import heading, reported
from mamo.reporting.tables import DIVERGED, NONE, SPREAD, make_table, primary, sensible
from mamo.specs.plan import Plan, TablePlan


def _others_heading(paper: PaperTable | None) -> str:
    """What stands over reported rows that have no counterpart of ours."""
    plain = PaperTable.model_fields["heading"].default
    return paper.heading if paper and paper.heading != plain else "Other rows of the paper, as reported there"


def table_view(plan: Plan, table: TablePlan, values: Mapping[str, Any], ablations: Path) -> dict[str, Any]:
    """A table for the template: headings, groups, lines of cells, the paper's other lines and notes."""
    ablation = table.ablation
    paper = reported(ablation, ablations)
    shown = make_table(ablation, values, paper)
    by_place: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in values["cells"]:
        by_place.setdefault((cell["row"], cell["column"]), []).append(cell)
    intervals = {(line["row"], line["column"]): line for line in values.get("statistics", ())}
    ours_keys = {line.key for line in shown.ours}
    theirs = {row.key: row for row in paper.rows} if paper else {}
    labels = {row.key: row.label for row in ablation.rows}
    lines = []
    for line in shown.ours:
        cells = []
        for head, text in zip(shown.headings, line.texts, strict=True):
            found = by_place.get((line.key, head.key), [])
            row = theirs.get(line.key)
            value = row.values.get(head.key) if row else None
            statistics = intervals.get((line.key, head.key))
            diverged = row is not None and row.outcome == "diverged"
            cells.append(
                {
                    "text": text.partition(f" {SPREAD} ")[0],
                    "paper": DIVERGED if diverged else "" if value is None else _plain(value),
                    "difference": _difference(found, value),
                    "interval": _interval(statistics),
                    "against": _against(statistics, labels),
                    "behind": [
                        {
                            key: sensible(cell[key]) if isinstance(cell[key], float) else cell[key]
                            for key in ("metric", "seed", "value", "chance", "run", "outcome")
                        }
                        for cell in found
                    ],
                }
            )
        lines.append({"label": line.label, "cells": cells})
    others = [
        {"label": line.label, "texts": line.texts} for line in shown.reported if line.key not in ours_keys
    ]
    first = primary(shown.headings)
    notes = [*ablation.notes, *dict.fromkeys(c.note for c in ablation.columns if c.note)]
    order = "" if plumbing_only(plan) else agreement_text(values.get("agreement", ()), column_names(ablation))
    return {
        "name": ablation.name,
        "kind": ablation.kind,
        "title": heading(ablation),
        "question": " ".join(ablation.question.split()),
        "hypothesis": " ".join(ablation.hypothesis.split()),
        "first": first,
        "folded": not all(first),
        "groups": _groups([head.group for head in shown.headings]),
        "first_groups": _groups([h.group for h, kept in zip(shown.headings, first, strict=True) if kept]),
        "headings": [head.label for head in shown.headings],
        "columns": [head.text for head in shown.headings],
        "lines": lines,
        "chance": shown.chance.texts if shown.chance else None,
        "others": others,
        "others_heading": _others_heading(paper),
        "notes": [" ".join(note.split()) for note in (*notes, *(paper.notes if paper else ()))]
        + ([order.replace("**", "")] if order else []),
        "legend": {sign: meaning for sign, meaning in shown.legend.items() if sign != SPREAD},
        "none": NONE,
    }


def _groups(groups: list[str]) -> list[tuple[str, int]]:
    """Runs of equal groups with their lengths; empty where there are none."""
    found: list[tuple[str, int]] = []
    for group in groups:
        if found and found[-1][0] == group:
            found[-1] = (group, found[-1][1] + 1)
        else:
            found.append((group, 1))
    return found if any(groups) else []


def _plain(value: float) -> str:
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:,.1f}"
        if value * 10 == round(value * 10)
        else f"{value:,.2f}"
    )


def _interval(line: Mapping[str, Any] | None) -> str:
    """Format the 95 % interval; '' if nothing could be resampled."""
    if line is None or not line["mean_upper"] > line["mean_lower"]:
        return ""
    return f"[{line['mean_lower']:.1f}, {line['mean_upper']:.1f}]".replace("-", "−")


def _against(line: Mapping[str, Any] | None, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Format the paired difference from the base row, for the cell's provenance."""
    if line is None or not line["against"]:
        return None
    low, high = line["difference_lower"], line["difference_upper"]
    text = f"{line['difference']:+.1f} [{low:+.1f}, {high:+.1f}], p = {line['difference_p']:.2g}".replace(
        "-", "−"
    )
    return {"row": labels.get(line["against"], line["against"]), "text": text, "images": line["images"]}


def _difference(cells: list[Mapping[str, Any]], paper: float | None) -> str:
    """Format ours minus the paper's, in percentage points; '' if one of them is missing."""
    found = [cell["value"] for cell in cells if cell["value"] is not None]
    if paper is None or not found or isinstance(paper, int):
        return ""
    return f"{sum(found) / len(found) - paper:+.1f}".replace("-", "−")
