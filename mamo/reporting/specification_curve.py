"""The specification curve: the answer to each question under each defensible reading of what the paper leaves open.

Readings that lead to the same trainings for a question (one that only concerns another model, say) are one reading to it, and
count once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamo.reporting.claim_tables import TableResults
from mamo.reporting.claims import Judge
from mamo.reporting.differences import signed
from mamo.reporting.findings import Finding
from mamo.reporting.markdown import bullet, markdown_table, wrapped
from mamo.reporting.tables import Heading, Line
from mamo.specs.claims import ClaimSpec
from mamo.specs.plan import Plan, TablePlan
from mamo.specs.readings import ContrastSpec, ReadingSpec, row_of

ANSWERS = {"supported": "supported", "refuted": "refuted", "cannot tell": "undecided"}  # verdict -> word


def curve(
    plan: Plan, table: TablePlan, results: Path, ablations: Path = Path("ablations")
) -> list[dict[str, Any]]:
    """Answer an ablation's questions under each reading.

    Args:
        results: the scale's results.

    Returns:
        an entry for each contrast, plain JSON values: ``key``, ``label``, ``claim``, ``difference`` (whether it is one, with
        numbers), ``counts`` (answer -> distinct readings) and ``readings``: for each distinct one ``keys`` and ``labels`` (of
        all that come to the same trainings), ``answer``, ``why``, and ``value``, ``lower``, ``upper`` in percentage points and
        ``seeds``, None where there is no number.
    """
    ablation = table.ablation
    tables = {ablation.name: TableResults(plan, table, results, ablations)}
    for other in plan.lenders(table):
        tables[other.ablation.name] = TableResults(plan, other, results, ablations)
    judge = Judge(plan, tables)
    return [_contrast(judge, table, contrast) for contrast in ablation.contrasts]


def _contrast(judge: Judge, table: TablePlan, contrast: ContrastSpec) -> dict[str, Any]:
    groups: dict[tuple[tuple[str, ...], ...], list[ReadingSpec]] = {}
    for reading in table.ablation.readings:
        trained = tuple(table.pretrainings[row_of(model, reading.key)] for model in contrast.models)
        groups.setdefault(trained, []).append(reading)
    entries = []
    for readings in groups.values():
        claim = ClaimSpec(
            key=contrast.key,
            claim=contrast.label,
            place=table.ablation.name,
            test=contrast.test(table.ablation.name, readings[0].key),
        )
        entries.append(_entry(judge.finding(claim), readings))
    return {
        "key": contrast.key,
        "label": contrast.label,
        "claim": contrast.claim,
        "difference": contrast.minus is not None,
        "counts": {
            answer: sum(entry["answer"] == answer for entry in entries) for answer in ANSWERS.values()
        },
        "readings": entries,
    }


def _entry(finding: Finding, readings: Sequence[ReadingSpec]) -> dict[str, Any]:
    number = finding.numbers[0] if finding.numbers else None
    return {
        "keys": [reading.key for reading in readings],
        "labels": [reading.label for reading in readings],
        "answer": ANSWERS[finding.verdict],
        "why": finding.why,
        "value": number.value if number else None,
        "lower": number.lower if number else None,
        "upper": number.upper if number else None,
        "seeds": number.seeds if number else None,
    }


def curve_section(contrasts: Sequence[Mapping[str, Any]]) -> str:
    """Format how often each question gets which answer, and the answer under each reading."""
    answers = list(ANSWERS.values())
    headings = [Heading(answer, answer, "share of readings") for answer in answers]
    lines = [
        Line(
            contrast["key"],
            contrast["label"] + (f" (claim `{contrast['claim']}`)" if contrast["claim"] else ""),
            tuple(_share(contrast, answer) for answer in answers),
        )
        for contrast in contrasts
    ]
    parts = [
        wrapped(
            "Each question is asked once for every way to read what the text leaves open. Readings that come to the same "
            "trainings count once."
        ),
        markdown_table(headings, lines, "question"),
    ]
    for contrast in contrasts:
        parts += [f"### {contrast['label']}", "\n".join(_reading(entry) for entry in ordered(contrast))]
    return "\n\n".join(parts)


def ordered(contrast: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Sort the readings of a question by their effect; those without a number last."""
    entries = contrast["readings"]
    numbered = sorted((e for e in entries if e["value"] is not None), key=lambda entry: entry["value"])
    return [*numbered, *(entry for entry in entries if entry["value"] is None)]


def _share(contrast: Mapping[str, Any], answer: str) -> str:
    count, total = contrast["counts"][answer], len(contrast["readings"])
    return f"{count} of {total} ({count / total:.0%})"


def _reading(entry: Mapping[str, Any]) -> str:
    labels = "; ".join(entry["labels"])
    if entry["value"] is None:
        return bullet(f"{labels}: **{entry['answer']}**, {entry['why']}")
    lower, upper = signed(entry["lower"], 1), signed(entry["upper"], 1)
    seeds = f"{entry['seeds']} seed{'s' if entry['seeds'] > 1 else ''}"
    return bullet(
        f"{labels}: **{entry['answer']}**, {signed(entry['value'], 1)} [{lower}, {upper}] ({seeds}); {entry['why']}"
    )
