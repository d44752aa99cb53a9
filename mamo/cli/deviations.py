"""``mamo deviations``: docs/deviations.md from the ledger's data, the specs and the code."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mamo.cli import options
from mamo.ledgers.deviations import SOURCE, Deviation, Deviations, problems, read_deviations, value_of
from mamo.specs.scale import Scale, read_scale

PAGE = Path("docs/deviations.md")
SCALE = "paper"
INTRODUCTION = """\
# What the paper leaves open

The paper does not settle everything that an implementation must decide, and no official code has been found. This page lists
each open point, what is done here, and where. Where the paper is silent, X-VLM comes first (appendix A equals its fine-tuning
settings almost line for line), then ALBEF, whose architecture the paper takes over.

Settings are written with their value at scale `paper`; an ablation's row names them without the leading `pretrain.`. "Fixed"
means that the choice is code and not a setting. `mamo dev deviations` makes this page from [deviations.yaml](deviations.yaml),
the specs and the code."""


def add(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "deviations",
        help="write the page on what the paper leaves open",
        description=f"Write {PAGE} from {SOURCE}, with each setting's value at scale {SCALE}. Refuses where an entry names a "
        "setting or a place in the code that is not there, or where a setting has no entry.",
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; status 1 if the page is not up to date"
    )
    parser.set_defaults(command=_command)


def _command(args: argparse.Namespace) -> int:
    options.check_project()
    deviations, scale = read_deviations(), read_scale(SCALE, options.ABLATIONS)
    found = problems(deviations, scale, Path())
    if found:
        print("\n".join(f"{SOURCE}: {line}" for line in found), file=sys.stderr)
        return 1
    text = page(deviations, scale)
    if not args.check:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{PAGE} is not what {SOURCE} and the specs make: call `mamo dev deviations`", file=sys.stderr)
    return 1


def page(deviations: Deviations, scale: Scale) -> str:
    """The Markdown page."""
    parts = [INTRODUCTION]
    for section in deviations.sections:
        rows = [_row(entry, scale) for entry in section.entries]
        head = ["| open point | here | setting | acts in | from |", "|---|---|---|---|---|"]
        parts += [f"## {section.title}", "\n".join([*head, *rows])]
        parts += [section.after.strip()] if section.after else []
    if deviations.not_built:
        parts += ["## Not built", "\n".join(f"- {line}" for line in deviations.not_built)]
    head = ["| in the paper | settings |", "|---|---|"]
    given = [f"| {given.place} | {_settings(given.settings, scale)} |" for given in deviations.given]
    parts += ["## What the paper gives", "\n".join([*head, *given])]
    own = [f"- {', '.join(f'`{name}`' for name in own.settings)}: {own.why}." for own in deviations.own]
    parts += ["## Settings without a counterpart in the paper", "\n".join(own)]
    return "\n\n".join(parts) + "\n"


def _row(entry: Deviation, scale: Scale) -> str:
    setting = _settings(entry.settings, scale) or (f"rows of `{entry.rows}`" if entry.rows else "fixed")
    places = [place.partition(":") for place in entry.acts_in]
    where = "; ".join(f"`{file}` {name}" for file, _, name in places)
    return f"| {entry.point} | {entry.here} | {setting} | {where} | {entry.source} |"


def _settings(names: tuple[str, ...], scale: Scale) -> str:
    return ", ".join(f"`{name}: {_text(value_of(name, scale))}`" for name in names)


def _text(value: Any) -> str:
    """A value as YAML writes it on one line."""
    if isinstance(value, float) and 0 < abs(value) < 1e-3:
        digits, exponent = f"{value:e}".split("e")
        return f"{float(digits)}e-{abs(int(exponent))}"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return f"[{', '.join(_text(part) for part in value)}]"
    return json.dumps(value)
