"""Write the claims ledger as a page, and as the summary at the top of a scale's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamo.files.writing import atomic_write, write_text
from mamo.reporting.findings import APART, REASONS, VERDICTS
from mamo.reporting.markdown import bullet, folded, wrapped
from mamo.reporting.pages import Page
from mamo.reporting.power import POWER, power_words
from mamo.reporting.publish import caveat
from mamo.specs.scale import Scale

CSV = ("key", "claim", "place", "table", "verdict", "reason", "why", "numbers", "sees", "note")
HOW = """\
A test looks at a difference on the same test images and the same seeds, in the mean of its columns unless it says "in". Its
95 % interval covers the noise of both. If a table has one seed, the noise between seeds is borrowed from other tables of the
scale with the same metrics (marked *). **Supported**: the interval is on the claim's side of 0. **Refuted**: it is on the
other side. **Cannot tell**: it includes 0, or nothing can be compared (a row is missing, no row is better than chance, or
there is one seed and no noise to borrow). **Not testable here**: the other model comes from other work and other data, so no
result of this scale could decide. "Refuted" means: at this scale, with these models and these data."""


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
    with atomic_write(reports / page.files[1]) as part:
        pd.DataFrame(rows, columns=list(CSV)).to_csv(part, index=False)
    parts = [
        page.mark,
        "# The paper's claims",
        caveat(scale).rstrip(),
        wrapped(counted(claims, scale)),
    ]
    decided, undecided = by_verdict(claims), by_reason(claims)
    parts += [
        f"## {verdict.capitalize()}\n\n{_claim_entries(entries) or 'None.'}"
        for verdict, entries in decided.items()
        if not values["plumbing"]
    ]
    parts.append("## No verdict" if values["plumbing"] else "## Cannot tell")
    parts += [
        f"### {REASONS[reason]} ({len(entries)})\n\n{_claim_entries(entries)}"
        for reason, entries in undecided.items()
    ] or ["None."]
    apart = set_apart(claims)
    if apart:
        parts.append(
            f"## {APART.capitalize()}\n\n### {REASONS['reported']} ({len(apart)})\n\n{_claim_entries(apart)}"
        )
    parts += ["## How a verdict is reached", HOW]
    write_text(reports / page.files[0], "\n\n".join(part for part in parts if part) + "\n")


def by_verdict(claims: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the supported claims, then the refuted ones."""
    return {
        verdict: [claim for claim in claims if claim["verdict"] == verdict]
        for verdict in VERDICTS
        if verdict not in ("cannot tell", APART)
    }


def set_apart(claims: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the claims that no result of this scale could decide."""
    return [claim for claim in claims if claim["verdict"] == APART]


def by_reason(claims: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """Group the open claims by the key of the reason, in the order of ``REASONS``; only reasons that occur."""
    grouped = {
        reason: [claim for claim in claims if claim["verdict"] == "cannot tell" and claim["reason"] == reason]
        for reason in REASONS
    }
    return {reason: claims_of for reason, claims_of in grouped.items() if claims_of}


def counted(claims: Sequence[Mapping[str, Any]], scale: Scale) -> str:
    """Count the claims by verdict, and say how many would be wrong by chance."""
    if claims and all(claim["reason"] == "plumbing" for claim in claims):
        return (
            f"Scale `{scale.name}` gives no verdict on the paper's {len(claims)} claims: its models are trained for a few "
            "steps, to show that every job runs."
        )
    count = {verdict: sum(claim["verdict"] == verdict for claim in claims) for verdict in VERDICTS}
    decided = count["supported"] + count["refuted"]
    text = (
        f"The paper's claims, {len(claims) - count[APART]} of them, at scale `{scale.name}`: {count['supported']} supported, "
        f"{count['refuted']} refuted; of the other {count['cannot tell']} these results cannot tell."
    )
    if count[APART]:
        text += (
            f" {count[APART]} more compare with other people's numbers from other data, which no result of this scale can "
            "test; they are set apart."
        )
    power = power_words([claim for claim in claims if claim["verdict"] != APART])
    text += f" {power}" if power else ""
    if decided:
        text += " Even where nothing differs, a test with one interval gives a verdict once in 20 times, by chance."
    return text


def summary(claims: Sequence[Mapping[str, Any]]) -> str:
    """List the decided claims with their numbers, and the open ones folded, by reason."""
    parts = [
        "\n".join(
            bullet(f"**{verdict.capitalize()}.** {claim['claim']} ({claim['place']})\n" + _because(claim))
            for claim in entries
        )
        for verdict, entries in by_verdict(claims).items()
    ]
    undecided = by_reason(claims)
    if undecided:
        body = "\n\n".join(
            f"**{REASONS[reason]}** ({len(entries)})\n\n"
            + "\n".join(bullet(f"{claim['claim']} ({claim['place']})") for claim in entries)
            for reason, entries in undecided.items()
        )
        parts.append(folded(f"Open: {sum(map(len, undecided.values()))} claims, by the reason", body))
    apart = set_apart(claims)
    if apart:
        body = "\n".join(bullet(f"{claim['claim']} ({claim['place']})") for claim in apart)
        parts.append(folded(f"{APART.capitalize()}: {len(apart)} claims about other people's numbers", body))
    return "\n\n".join(part for part in parts if part)


def _because(claim: Mapping[str, Any]) -> str:
    """Return the first number and how many more there are; the reason if there is none."""
    numbers = claim["numbers"]
    if not numbers:
        return f"{claim['why'][0].upper()}{claim['why'][1:]}."
    more = len(numbers) - 1
    return _number_text(numbers[0]) + (f"; and {more} more" if more else "") + "."


def _claim_entries(claims: Sequence[Mapping[str, Any]]) -> str:
    entries = []
    for claim in claims:
        lines = [
            bullet(f"**{claim['claim']}** ({claim['place']}; `{claim['key']}`)"),
            bullet(f"{claim['why'][0].upper()}{claim['why'][1:]}.", 1),
        ]
        lines += [bullet(_number_text(number), 1) for number in claim["numbers"]]
        if claim["sees"] is not None:
            least = f"{claim['sees']:.1f} points or more in {POWER:.0%} of repetitions"
            lines.append(bullet(f"The test would show a true difference of {least}.", 1))
        lines += [bullet(f"Note: {claim['note']}", 1)] if claim["note"] else []
        entries.append("\n".join(lines))
    return "\n".join(entries)


def _numbers(claim: Mapping[str, Any]) -> str:
    return "; ".join(_number_text(number) for number in claim["numbers"])


def _number_text(number: Mapping[str, Any]) -> str:
    seeds = f"{number['seeds']} seed{'s' if number['seeds'] > 1 else ''}{'*' if number['borrowed'] else ''}"
    return f"{number['text']} ({seeds})"
