"""The claims ledger as a page, and as the summary that a scale's report opens with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamo.reporting.claims import VERDICTS
from mamo.reporting.markdown import markdown_table
from mamo.reporting.pages import Page
from mamo.reporting.publish import caveat
from mamo.reporting.tables import Heading, Line
from mamo.specs.scale import Scale
from mamo.training.run import beside, write_text

CSV = ("key", "claim", "place", "table", "verdict", "why", "numbers", "note")
HOW = """\
A test looks at a difference on the same test images and the same seeds, in the mean of its columns unless it says "in". Its
95 % interval takes in both. Where a table has one seed, the noise between seeds is taken from the scale's other tables, for the
same metrics (marked *). **Supported**: the interval lies on the claim's side of 0. **Refuted**: it lies on the other side.
**Cannot tell**: it holds 0, or nothing can be compared (a row is missing, no row is better than chance, there is one seed and
no noise to borrow, or the other model saw other data). "Refuted" means: at this scale, with these models and these data."""


def write_ledger(scale: Scale, values: Mapping[str, Any], page: Page, reports: Path) -> None:
    """Write ``claims.md`` and ``claims.csv`` below ``reports``, the page last.

    Args:
        values: from ``judge``.
        reports: the scale's reports.
    """
    import pandas as pd

    reports.mkdir(parents=True, exist_ok=True)
    claims = values["claims"]
    rows = [
        [
            claim["test"]["table"]
            if name == "table"
            else _numbers(claim)
            if name == "numbers"
            else claim[name]
            for name in CSV
        ]
        for claim in claims
    ]
    with beside(reports / page.files[1]) as part:
        pd.DataFrame(rows, columns=list(CSV)).to_csv(part, index=False)
    parts = [
        page.mark,
        "# The paper's claims",
        caveat(scale).rstrip(),
        counted(claims, scale),
        HOW,
        *(f"## {verdict.capitalize()}\n\n{_section(claims, verdict)}" for verdict in VERDICTS),
    ]
    write_text(reports / page.files[0], "\n\n".join(part for part in parts if part) + "\n")


def counted(claims: Sequence[Mapping[str, Any]], scale: Scale) -> str:
    """How many claims have which verdict, and how many of them would be wrong by chance."""
    count = {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict in VERDICTS}
    decided = count["supported"] + count["refuted"]
    text = (
        f"The paper's claims, {len(claims)} of them, at scale `{scale.name}`: {count['supported']} supported, "
        f"{count['refuted']} refuted; of the other {count['cannot tell']} these results cannot tell."
    )
    if decided:
        text += " Where nothing differs, a test of one interval still decides once in 20 times, by chance."
    return text


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """The claims as one table: what the paper says, the verdict, and the numbers."""
    headings = [Heading("verdict", "verdict", ""), Heading("numbers", "ours, and the paper's", "")]
    lines = [
        Line(
            claim["key"],
            f"{claim['claim']} ({claim['place']})",
            (f"**{claim['verdict']}**", _numbers(claim) or claim["why"]),
        )
        for claim in claims
    ]
    return markdown_table(headings, lines, "claim")


def _section(claims: Sequence[Mapping[str, Any]], verdict: str) -> str:
    chosen = [claim for claim in claims if claim["verdict"] == verdict]
    entries = []
    for claim in chosen:
        lines = [
            f"- **{claim['claim']}** ({claim['place']}; `{claim['key']}`)",
            f"  - {claim['why'][0].upper()}{claim['why'][1:]}.",
        ]
        lines += [f"  - {_number(number)}" for number in claim["numbers"]]
        lines += [f"  - Note: {claim['note']}"] if claim["note"] else []
        entries.append("\n".join(lines))
    return "\n".join(entries) or "None."


def _numbers(claim: Mapping[str, Any]) -> str:
    return "; ".join(_number(number) for number in claim["numbers"])


def _number(number: Mapping[str, Any]) -> str:
    seeds = f"{number['seeds']} seed{'s' if number['seeds'] > 1 else ''}{'*' if number['borrowed'] else ''}"
    return f"{number['text']} ({seeds})"
