"""List where every setting comes from, by a walk through the specs. The page lists by hand what is not a setting."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from mamo.specs.overrides import models_of
from mamo.specs.scale import Scale
from mamo.specs.source import Source

PAGE = Path("docs/deviations.md")
SECTIONS = ("pretrain", "weights", "data", "jobs")
BY_HAND = "## What no setting says"
GENERATED = "## Settings that the paper leaves open"  # from here on, the page is made


@dataclass
class Setting:
    """A field of the specs, wherever a scale holds it.

    Attributes:
        values: dotted setting -> its value, ``off`` within a section that is switched off; each value once.
        more: how many further settings of these values there are.
    """

    description: str
    source: Source
    acts_in: str
    values: dict[str, Any] = field(default_factory=dict)
    more: int = 0

    @property
    def text(self) -> str:
        """The settings with their values, as Markdown."""
        shown = ", ".join(f"`{name}: {_yaml_text(value)}`" for name, value in self.values.items())
        return shown + (f" and {self.more} more" if self.more else "")


def settings_of(scale: Scale) -> list[Setting]:
    """Return every setting of pre-training, starting weights, data and jobs, with its value at a scale.

    Raises:
        TypeError: a field has no source; no page could say where it comes from.
    """
    settings: dict[tuple[type[BaseModel], str], Setting] = {}
    for section in SECTIONS:
        for owner, name, dotted, value in _leaves(
            type(getattr(scale, section)), getattr(scale, section), section
        ):
            field = owner.model_fields[name]
            source = _source_text(field)
            if source is None:
                raise TypeError(
                    f"{owner.__name__}.{name} has no source: say where it comes from (mamo/specs/source.py)"
                )
            acts_in = source.acts_in or getattr(owner, "ACTS_IN", "")
            setting = settings.setdefault(
                (owner, name), Setting(field.description or "", source, f"mamo/{acts_in}")
            )
            if value in setting.values.values():
                setting.more += 1
            else:
                setting.values[dotted] = value
    return list(settings.values())


def fixed_choices(page: Path = PAGE) -> list[list[str]]:
    """Return the rows of the page's hand-written table: open point, what is done here, where, and whose choice it is."""
    if not page.is_file():
        return []
    table = page.read_text(encoding="utf-8").partition(BY_HAND)[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return rows[1:]


def settings_tables(scale: Scale) -> str:
    """Return the generated part of the page: settings by where they come from, as Markdown."""
    by_kind: dict[str, list[Setting]] = {"chosen": [], "given": [], "own": []}
    for setting in settings_of(scale):
        by_kind[setting.source.kind].append(setting)
    parts = []
    for kind, title, head in (
        ("chosen", GENERATED, "from"),
        ("given", "## Settings that the paper gives", "in the paper"),
        ("own", "## Settings without a counterpart in the paper", "why"),
    ):
        rows = [f"| {s.text} | {s.description} | `{s.acts_in}` | {s.source.place} |" for s in by_kind[kind]]
        parts.append(
            "\n".join(
                [f"{title}\n", f"| setting | what it is | acts in | {head} |", "|---|---|---|---|", *rows]
            )
        )
    return "\n\n".join(parts)


def _leaves(
    model: type[BaseModel], value: Any, dotted: str
) -> Iterator[tuple[type[BaseModel], str, str, Any]]:
    """Yield (defining spec, field, dotted setting, value) below a section; a field with a source is not entered."""
    if isinstance(value, dict):  # jobs and data sets, by name
        for name, entry in value.items():
            yield from _leaves(type(entry), entry, f"{dotted}.{name}")
        return
    for name, info in model.model_fields.items():
        inner = "off" if value == "off" else getattr(value, name)
        children = [] if _source_text(info) else models_of(info.annotation)
        if isinstance(inner, BaseModel | dict) and children:
            yield from _leaves(
                children[0] if isinstance(inner, dict) else type(inner), inner, f"{dotted}.{name}"
            )
        elif children:  # a section that is switched off
            for child in children:
                yield from _leaves(child, "off", f"{dotted}.{name}")
        elif name != "task":  # which spec a job is
            owner = next(
                base for base in reversed(model.__mro__) if name in base.__dict__.get("__annotations__", ())
            )
            yield owner, name, f"{dotted}.{name}", inner


def _source_text(info: Any) -> Source | None:
    return next((part for part in info.metadata if isinstance(part, Source)), None)


def _yaml_text(value: Any) -> str:
    """Return a value as YAML writes it on one line."""
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:e}".split("e")
        return f"{float(digits)}e-{abs(int(exponent))}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_yaml_text(part) for part in value)}]"
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json")
    return value if isinstance(value, str) else json.dumps(value)
