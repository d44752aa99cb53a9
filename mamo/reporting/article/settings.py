"""The article's settings and deviations: read from the scale and the ledger, never written by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mamo.ledgers.deviations import PAGE, fixed_choices, settings_of
from mamo.specs.identity import flatten
from mamo.specs.overrides import SpecError
from mamo.specs.scale import Scale, read_scale

PAPER = "paper"  # the scale that holds the paper's own settings
OFF = "off"
# Sections shown in the article's text; the others, with the jobs, are in its appendix.
MAIN = ("Model", "Masking", "Target network", "Optimiser", "Schedule", "Pre-training, further")
# Sections of the scale, with the article's words for them; jobs follow, each by its name.
SECTIONS = {
    "Data": "data",
    "Starting weights": "weights",
    "Model": "pretrain.model",
    "Objectives": "pretrain.objectives",
    "Masking": "pretrain.masking",
    "Target network": "pretrain.target",
    "Optimiser": "pretrain.optimiser",
    "Schedule": "pretrain.schedule",
    "Images": "pretrain.transform",
}


def settings(scale: Scale, ablations: Path) -> list[dict[str, Any]]:
    """Return the scale's settings beside those of scale ``paper``.

    Returns:
        sections ``{title, main, rows}`` (main: shown in the text, not in the appendix); a row is ``[setting, here, at scale
        paper]``. Jobs list the settings in which the scale differs from ``paper``, all other sections every setting.
    """
    ours = scale.model_dump(mode="json")
    try:
        paper = read_scale(PAPER, ablations).model_dump(mode="json")
    except SpecError:  # scales of another project
        paper = {}
    sections = [
        {"title": title, "rows": _rows(_part(ours, place), _part(paper, place))}
        for title, place in SECTIONS.items()
    ]
    rest = {
        name: value
        for name, value in ours["pretrain"].items()
        if not isinstance(value, Mapping) and value is not None
    }
    others = {name: paper.get("pretrain", {}).get(name) for name in rest}
    sections.append({"title": "Pre-training, further", "rows": _rows(rest, others)})
    for name, job in ours["jobs"].items():
        rows = [row for row in _rows(job, paper.get("jobs", {}).get(name) or {}) if row[1] != row[2]]
        sections.append({"title": f"Job {name}", "rows": rows})
    return [section | {"main": section["title"] in MAIN} for section in sections if section["rows"]]


def deviations(ablations: Path, page: Path = PAGE) -> list[dict[str, Any]]:
    """List what the paper leaves open and what is done here, by section: ``{title, entries}``; none where there is no page.

    Args:
        page: whose hand-written table lists what is no setting.
    """
    if not page.is_file():
        return []
    fixed = [
        {"point": point, "here": here, "source": source} for point, here, _, source in fixed_choices(page)
    ]
    settings = [
        {"point": setting.description, "here": setting.text, "source": setting.source.place}
        for setting in settings_of(read_scale(PAPER, ablations))
        if setting.source.kind == "chosen"
    ]
    return [{"title": "Fixed", "entries": fixed}, {"title": "Settings", "entries": settings}]


def _part(values: Mapping[str, Any], place: str) -> Any:
    value: Any = values
    for name in place.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _rows(ours: Any, paper: Any) -> list[list[str]]:
    if not isinstance(ours, Mapping):
        return [] if ours is None else [["", _text(ours), _text(paper)]]
    own = flatten(ours)
    other = flatten(paper) if isinstance(paper, Mapping) else {}
    return [[name, _text(value), _text(other[name]) if name in other else "–"] for name, value in own.items()]


def _text(value: Any) -> str:
    if value is None:
        return OFF
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(part) for part in value) or "–"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
