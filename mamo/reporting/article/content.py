"""Collect everything that the article says, as plain JSON values for its template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image

from mamo.ledgers.deviations import PAGE
from mamo.reporting.article.runs import Runs
from mamo.reporting.article.settings import deviations, settings
from mamo.reporting.article.tables import article_table
from mamo.reporting.figure_pages import figure_heading
from mamo.reporting.findings import REASONS, VERDICTS
from mamo.reporting.headline import MODELS, headline
from mamo.reporting.names import table_name
from mamo.reporting.pages import pages_of
from mamo.reporting.publish import heading
from mamo.reporting.values import TableValues
from mamo.specs.code import running_code
from mamo.specs.plan import Plan


def content(
    plan: Plan,
    values: Mapping[str, TableValues],
    claims: Sequence[Mapping[str, Any]],
    results: Path,
    reports: Path,
    ablations: Path,
    page: Path = PAGE,
) -> dict[str, Any]:
    """Collect the article's content.

    Args:
        values: table name -> what ``collect`` gave for it.
        claims: the claims that ``judge`` gave; empty where the plan has none.
        results, reports: the scale's.
        page: of what the paper leaves open.

    Returns:
        plain JSON values. ``runs`` holds one entry for every run, numbered; a cell's ``run`` is such a number.
    """
    runs = Runs.read(plan, results)
    tables = [article_table(table, values[name], ablations) for name, table in plan.tables.items()]
    for table in tables:
        for row in table["rows"]:
            for cell in row["cells"]:
                cell["run"] = runs.numbers.get(cell["run"])
    shown, seeds = _readers(plan)
    figures, undrawn = _figures(plan, reports, ablations)
    code = running_code()
    scale = plan.scale
    return {
        "version": version("mamo"),
        "scale": {"name": scale.name, "title": scale.title, "caveat": scale.caveat or "", "cost": scale.cost},
        "started": runs.started(),
        "commit": str(code),
        "code_digest": code.digest,
        "planned": len(runs.numbers),
        "missing": runs.missing,
        "settings": settings(scale, ablations),
        "deviations": deviations(ablations, page),
        "headline": _headline(plan, values, ablations),
        "tables": tables,
        "figures": figures,
        "undrawn": undrawn,
        "claims": _claims(claims),
        "cost": runs.cost(),
        "circumstances": runs.circumstances(),
        "runs": runs.entries(shown, seeds),
    }


def _readers(plan: Plan) -> tuple[dict[str, list[str]], list[tuple[str, ...]]]:
    """Run key -> the tables and figures that read it; and the groups of runs that differ by their seed alone."""
    shown: dict[str, list[str]] = {}
    for name, table in plan.tables.items():
        for key in table.inputs:
            shown.setdefault(key, []).append(table_name(name))
    for name, figure in plan.figures.items():
        for key in figure.inputs:
            shown.setdefault(key, []).append(table_name(name))
    groups = [cell.runs for table in plan.tables.values() for cell in table.cells]
    groups += [keys for table in plan.tables.values() for keys in table.pretrainings.values()]
    return shown, list(dict.fromkeys(groups))


def _figures(plan: Plan, reports: Path, ablations: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """List the drawings in the reports, and the headings of missing ones.

    A drawing is ``{file, heading, caption, stale, more, wide}``: stale where it was drawn from other runs or settings than the
    planned, more where an earlier one shows the same thing, wide its width over its height.
    """
    pages = pages_of(plan, ablations)
    titles = {
        name: (heading(table.ablation), table.ablation.question)
        for name, table in plan.tables.items()
        if any(file.endswith(".png") for file in pages[name].files)
    }
    titles |= {
        name: (figure_heading(bound.figure), bound.figure.caption)
        for name, bound in plan.figures.items()
        if bound.figure.drawn
    }
    drawn, undrawn = [], []
    kinds: set[str] = set()
    for name, (title, caption) in sorted(titles.items(), key=lambda item: _number(item[0])):
        if (reports / f"{name}.png").is_file():
            stale = pages[name].stale(reports)
            kind = plan.figures[name].figure.method if name in plan.figures else name
            with Image.open(reports / f"{name}.png") as picture:
                wide = picture.width / picture.height
            drawn.append(
                {
                    "file": f"{name}.png",
                    "heading": title,
                    "caption": caption,
                    "stale": stale,
                    "more": kind in kinds,
                    "wide": wide,
                }
            )
            kinds.add(kind)
        else:
            undrawn.append(title)
    return drawn, undrawn


def _number(name: str) -> tuple[int, str]:
    """Sort figures by their numbers; those without one come last."""
    digits = "".join(filter(str.isdigit, name))
    return (int(digits) if digits else 1000, name)


def _headline(plan: Plan, values: Mapping[str, TableValues], ablations: Path) -> dict[str, Any] | None:
    """The main results: ``models`` (their labels) and ``rows``; None where no table has both models."""
    lines = headline(plan, values, ablations)
    rows = [
        {
            "task": line.title,
            "data": f"{line.group}, {' / '.join(line.labels)}",
            "table": line.table,
            "seeds": line.seeds,
            "cells": [" / ".join(line.models[key]) for key in MODELS],
            "chance": " / ".join(line.chance),
        }
        for line in lines
    ]
    return {"models": list(MODELS.values()), "rows": rows} if rows else None


def _claims(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the claims by verdict: ``{verdict, entries}``; an entry has the claim, its place, the reason and numbers with
    intervals.

    Entries without a verdict are sorted by ``reason``, a heading.
    """
    sections = []
    for verdict in VERDICTS:
        entries = [
            {
                "claim": claim["claim"],
                "place": claim["place"],
                "why": claim["why"],
                "note": claim.get("note") or "",
                "reason": REASONS.get(claim["reason"], ""),
                "numbers": [
                    f"{number['text']} ({number['seeds']} seed{'s' if number['seeds'] > 1 else ''}"
                    f"{', noise between seeds borrowed from other tables' if number['borrowed'] else ''})"
                    for number in claim["numbers"]
                ],
            }
            for claim in claims
            if claim["verdict"] == verdict
        ]
        order = list(REASONS.values())
        entries.sort(key=lambda entry: order.index(entry["reason"]) if entry["reason"] else -1)
        sections.append({"verdict": verdict, "entries": entries})
    return sections if claims else []
