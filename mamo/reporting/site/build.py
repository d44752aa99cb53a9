"""Build the page from a template, a style sheet, a script and data, all in one file."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.files.writing import write_text
from mamo.reporting.figure_pages import alt_text, figure_heading
from mamo.reporting.findings import REASONS
from mamo.reporting.headline import MODELS, headline
from mamo.reporting.ledger import HOW, by_reason, by_verdict, counted, set_apart
from mamo.reporting.pages import Page
from mamo.reporting.paper import ARXIV, AUTHORS, TITLE
from mamo.reporting.publish import heading
from mamo.reporting.site.figures import drawing
from mamo.reporting.site.runs import (
    RunLine,
    curves,
    metric_labels,
    packed,
    packed_curves,
    run_lines,
    setting_text,
)
from mamo.reporting.site.tables import table_view
from mamo.reporting.tables import SPREAD
from mamo.reporting.values import TableValues
from mamo.specs.identity import changes
from mamo.specs.plan import Plan
from mamo.specs.scale import Scale, read_scale

_HERE = Path(__file__).parent
_KINDS = {
    "data": "Data",
    "weights": "Starting weights",
    "pretrain": "Pre-trainings",
    "finetune": "Downstream runs",
}
_SCRIPTS = ("base", "explorer", "dialog", "tables", "compare", "zoom")


def write_site(
    plan: Plan,
    values: Mapping[str, TableValues],
    claims: Mapping[str, Any] | None,
    maps: Mapping[str, Mapping[str, Any]],
    page: Page,
    results: Path,
    reports: Path,
    ablations: Path,
    docs: Path = Path("docs"),
) -> Path:
    """Write ``index.html``.

    Args:
        values: table name -> what ``collect`` gave for it.
        claims: what ``judge`` gave; None where the plan has no claims.
        maps: figure name -> what ``compute_figure`` gave for it.
        results: one scale's results.
        reports: the scale's reports, with the published drawings.
        docs: the documentation, whose list of deviations the page shows.

    Returns:
        the page.
    """
    runs = run_lines(plan, results)
    tables = [table_view(plan, plan.tables[name], values[name], ablations) for name in plan.tables]
    found = curves(plan, results)
    main = headline(plan, values, ablations)
    data: dict[str, Any] = {
        "scale": plan.scale.name,
        "kinds": _KINDS,
        "metrics": metric_labels(plan),
        "cells": {table["name"]: [line["cells"] for line in table["lines"]] for table in tables},
        "explorer": _explorer(maps),
    }
    html = _template().render(
        paper={"title": TITLE, "authors": AUTHORS, "url": ARXIV, "id": ARXIV.rpartition("/")[2]},
        scale=plan.scale,
        caveat=" ".join((plan.scale.caveat or "").split()),
        headline=main,
        halves=any(SPREAD in text for line in main for texts in line.models.values() for text in texts),
        models=MODELS,
        tables=tables,
        figures=_figures(plan, maps, reports),
        explorer=bool(data["explorer"]),
        claims=_claims(claims or {}, plan),
        kinds=_KINDS,
        runs=runs,
        total=_total(runs),
        curved=bool(found),
        settings=_settings(plan.scale, ablations),
        deviations=_deviations(docs / "deviations.md"),
        style=(_HERE / "site.css").read_text(encoding="utf-8"),
        script="\n".join((_HERE / f"{name}.js").read_text(encoding="utf-8") for name in _SCRIPTS),
        data=_embedded(data | packed(runs) | packed_curves(found)),
    )
    path = reports / page.files[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, f"{page.mark}\n{html}\n")
    return path


def _template() -> Any:
    """Load the template, with escaping of everything that is filled in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["seconds"] = _seconds
    environment.filters["setting"] = setting_text
    environment.filters["number"] = lambda value: "" if value is None else f"{value:,.0f}"
    return environment.get_template("index.html.j2")


def _embedded(data: Any) -> str:
    """Encode JSON for a script element, so that nothing in it can end the element or act as markup."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return (
        text.replace("&", "\\u0026")
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("\u2028", "\\u2028")
    )


def _explorer(maps: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Return the examples whose words can be explored: of the explorer's own figure, else of all per-word figures."""
    per_word = {name: found for name, found in maps.items() if found["method"] == "words" and found["grid"]}
    chosen = {name: found for name, found in per_word.items() if name.startswith("explorer")} or per_word
    if not chosen:
        return None
    first = next(iter(chosen.values()))
    examples = [example for found in chosen.values() for example in found["examples"]]
    return {key: first[key] for key in ("models", "grid", "layer", "caption")} | {"examples": examples}


def _claims(found: Mapping[str, Any], plan: Plan) -> dict[str, Any] | None:
    """Return the claims with their verdicts, decided ones first, open ones by reason."""
    claims = found.get("claims", [])
    if not claims:
        return None
    return {
        "decided": [claim for those in by_verdict(claims).values() for claim in those],
        "open": [(REASONS[reason], those) for reason, those in by_reason(claims).items()],
        "apart": set_apart(claims),
        "plumbing": found["plumbing"],
        "counted": counted(claims, plan.scale).replace("`", ""),
        "count": Counter(claim["verdict"] for claim in claims),
        "how": HOW.replace("**", "").replace("\n", " "),
        "tables": set(plan.tables),
    }


def _figures(plan: Plan, maps: Mapping[str, Mapping[str, Any]], reports: Path) -> list[dict[str, Any]]:
    """Return the published drawings, in the order of their numbers; ``more`` where an earlier one shows the same thing."""
    found = []
    for name, bound in plan.figures.items():
        caption = " ".join(bound.figure.caption.split())
        title = figure_heading(bound.figure)
        found.append((name, title, caption, alt_text(maps[name]) if name in maps else f"{title}. {caption}"))
    for name, table in plan.tables.items():
        if table.ablation.drawn:
            title = heading(table.ablation)
            found.append((name, title, " ".join(table.ablation.question.split()), f"{title}, as curves"))
    found.sort(key=lambda entry: (int("".join(filter(str.isdigit, entry[0])) or 0), entry[0]))
    shown = []
    methods: set[str] = set()
    for name, title, caption, alt in found:
        drawn = drawing(reports, name, alt)
        if drawn is not None:
            method = plan.figures[name].figure.method if name in plan.figures else name
            more = method in methods
            methods.add(method)
            shown.append({"name": name, "title": title, "caption": caption, "alt": alt, "more": more} | drawn)
    return shown


def _total(runs: list[RunLine]) -> dict[str, Any]:
    """Count the runs, those with a record, and their CPU time."""
    done = [line for line in runs if line.outcome != "missing"]
    return {
        "runs": len(runs),
        "done": len(done),
        "cpu": sum(line.cpu or 0.0 for line in done),
        "wall": sum(line.wall or 0.0 for line in done),
        "diverged": sum(line.outcome == "diverged" for line in done),
        "outcomes": sorted({line.outcome for line in runs}),
    }


def _settings(scale: Scale, ablations: Path) -> list[tuple[str, str, str]]:
    """List every setting in which the scale differs from the paper's: dotted name, the paper's value, the scale's."""
    if scale.name == "paper" or not (ablations / "scales" / "paper.yaml").is_file():
        return []
    paper = read_scale("paper", ablations).model_dump(mode="json")
    own = scale.model_dump(mode="json")
    lines = []
    for section in ("data", "weights", "pretrain", "jobs"):
        for dotted, value in changes(paper[section], own[section]).items():
            before: Any = paper[section]
            for part in dotted.split("."):
                before = before.get(part) if isinstance(before, dict) else None
            lines.append((f"{section}.{dotted}", _shown(before), _shown(value)))
    return lines


def _shown(value: Any) -> str:
    return "–" if value is None else setting_text(value)


def _deviations(path: Path) -> Any:
    """Render the list of deviations as HTML; None if the documentation is not there."""
    if not path.is_file():
        return None
    import mistune
    from markupsafe import Markup

    render = mistune.create_markdown(escape=True, plugins=["table"])
    text = path.read_text(encoding="utf-8").partition("\n")[2]  # its title is the section's
    # The page is a single file, so relative links would lead nowhere.
    text = re.sub(r"\[([^\]]+)\]\((?![a-z][a-z+.-]*:)[^)]*\)", r"\1", text)
    return Markup(str(render(text)).replace("<h2>", "<h3>").replace("</h2>", "</h3>"))


def _seconds(value: float | None) -> str:
    """Format seconds for people."""
    if value is None:
        return ""
    if value < 100:
        return f"{value:.1f} s"
    minutes, seconds = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
