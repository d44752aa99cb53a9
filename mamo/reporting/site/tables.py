"""Prepare tables for the page: for every cell our value, the paper's, the difference, and the runs behind it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.reporting.agreement import agreement_text
from mamo.reporting.claims import plumbing_only
from mamo.reporting.health import missed_checks
from mamo.reporting.names import column_names
from mamo.reporting.paper import PaperTable
from mamo.reporting.publish import heading, reported
from mamo.reporting.tables import DIVERGED, NONE, SPREAD, bracketed, make_table, primary, sensible, signed
from mamo.reporting.values import CellStatistics, SeedValue, TableValues, best_rows, mean_of
from mamo.specs.plan import Plan, TablePlan


def _others_heading(paper: PaperTable | None) -> str:
    """What stands over reported rows that have no counterpart of ours."""
    plain = PaperTable.model_fields["heading"].default
    return paper.heading if paper and paper.heading != plain else "Other rows of the paper, as reported there"


def table_view(plan: Plan, table: TablePlan, values: TableValues, ablations: Path) -> dict[str, Any]:
    """A table for the template: headings, groups, lines of cells, the paper's other lines and notes."""
    ablation = table.ablation
    paper = reported(ablation, ablations)
    shown = make_table(ablation, values, paper)
    ours_keys = {line.key for line in shown.ours}
    theirs = {row.key: row for row in paper.rows} if paper else {}
    labels = {row.key: row.label for row in ablation.rows}
    best = best_rows(values) if ablation.kind == "table" else {}  # larger counts are not better
    lines = []
    for line in shown.ours:
        cells = []
        for head, text in zip(shown.headings, line.texts, strict=True):
            seeds = values.at(line.key, head.key)
            row = theirs.get(line.key)
            value = row.values.get(head.key) if row else None
            statistics = values.statistics_at(line.key, head.key)
            diverged = row is not None and row.outcome == "diverged"
            cells.append(
                {
                    "text": text.partition(f" {SPREAD} ")[0],
                    "paper": DIVERGED if diverged else "" if value is None else _plain(value),
                    "difference": _difference(seeds, value),
                    "best": line.key in best.get(head.key, ()),
                    "interval": _interval(statistics),
                    "against": _against(statistics, labels),
                    "behind": [
                        {
                            "metric": seed.metric,
                            "seed": seed.seed,
                            "value": None if seed.value is None else sensible(seed.value),
                            "chance": None if seed.chance is None else sensible(seed.chance),
                            "run": seed.run,
                            "outcome": seed.outcome,
                        }
                        for seed in seeds
                    ],
                }
            )
        lines.append({"label": line.label, "cells": cells})
    others = [
        {"label": line.label, "texts": line.texts} for line in shown.reported if line.key not in ours_keys
    ]
    first = primary(shown.headings)
    notes = [*ablation.notes, *dict.fromkeys(c.note for c in ablation.columns if c.note)]
    order = "" if plumbing_only(plan) else agreement_text(values.agreement, column_names(ablation))
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
        + ([order.replace("**", "")] if order else [])
        + [f"Checks missed by {line}" for line in missed_checks(ablation, values)],
        "legend": {sign: meaning for sign, meaning in shown.legend.items() if sign != SPREAD},
        "lengths": " ".join(values.lengths),
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


def _interval(line: CellStatistics | None) -> str:
    """Format the 95 % interval; '' if nothing could be resampled."""
    if line is None or line.half <= 0:
        return ""
    return f"[{line.mean_lower:.1f}, {line.mean_upper:.1f}]".replace("-", "−")


def _against(line: CellStatistics | None, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Format the paired difference from the base row, for the cell's provenance."""
    gap = line.gap if line else None
    if line is None or gap is None:
        return None
    text = f"{signed(gap.value, 1)} {bracketed(gap.lower, gap.upper, 1)}, p = {gap.p:.2g}".replace("-", "−")
    return {"row": labels.get(gap.against, gap.against), "text": text, "images": line.images}


def _difference(seeds: list[SeedValue], paper: float | None) -> str:
    """Format ours minus the paper's, in percentage points; '' if one of them is missing."""
    ours = mean_of(seeds)
    if paper is None or ours is None or isinstance(paper, int):
        return ""
    return signed(ours - paper, 1)
