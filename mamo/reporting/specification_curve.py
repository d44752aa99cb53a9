"""The specification curve: the answer to each question under each defensible reading of what the paper leaves open.

Readings that lead to the same trainings for a question (one that only concerns another model, say) are one reading to it, and
count once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mamo.reporting.claim_tables import TableResults
from mamo.reporting.claims import Judge
from mamo.reporting.findings import Finding
from mamo.reporting.markdown import bullet, markdown_table, wrapped
from mamo.reporting.tables import Heading, Line, bracketed, signed
from mamo.reporting.values import CurveQuestion, ReadingAnswer
from mamo.specs.claims import ClaimSpec
from mamo.specs.plan import Plan, TablePlan
from mamo.specs.readings import ContrastSpec, ReadingSpec, row_of

ANSWERS = {"supported": "supported", "refuted": "refuted", "cannot tell": "undecided"}  # verdict -> word


def answer_questions(
    plan: Plan, table: TablePlan, results: Path, ablations: Path = Path("ablations")
) -> list[CurveQuestion]:
    """Answer an ablation's questions under each reading.

    Args:
        results: the scale's results.
    """
    ablation = table.ablation
    tables = {ablation.name: TableResults(plan, table, results, ablations)}
    for other in plan.lenders(table):
        tables[other.ablation.name] = TableResults(plan, other, results, ablations)
    judge = Judge(plan, tables)
    return [_contrast(judge, table, contrast) for contrast in ablation.contrasts]


def _contrast(judge: Judge, table: TablePlan, contrast: ContrastSpec) -> CurveQuestion:
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
    return CurveQuestion(
        key=contrast.key,
        label=contrast.label,
        claim=contrast.claim,
        difference=contrast.minus is not None,
        counts={answer: sum(entry.answer == answer for entry in entries) for answer in ANSWERS.values()},
        readings=tuple(entries),
    )


def _entry(finding: Finding, readings: Sequence[ReadingSpec]) -> ReadingAnswer:
    number = finding.numbers[0] if finding.numbers else None
    return ReadingAnswer(
        keys=tuple(reading.key for reading in readings),
        labels=tuple(reading.label for reading in readings),
        answer=ANSWERS[finding.verdict],
        why=finding.why,
        value=number.value if number else None,
        lower=number.lower if number else None,
        upper=number.upper if number else None,
        seeds=number.seeds if number else None,
    )


def curve_section(questions: Sequence[CurveQuestion]) -> str:
    """Format how often each question gets which answer, and the answer under each reading."""
    answers = list(ANSWERS.values())
    headings = [Heading(answer, answer, "share of readings") for answer in answers]
    lines = [
        Line(
            question.key,
            question.label + (f" (claim `{question.claim}`)" if question.claim else ""),
            tuple(_share(question, answer) for answer in answers),
        )
        for question in questions
    ]
    parts = [
        wrapped(
            "Each question is asked once for every way to read what the text leaves open. Readings that come to the same "
            "trainings count once."
        ),
        markdown_table(headings, lines, "question"),
    ]
    for question in questions:
        parts += [f"### {question.label}", "\n".join(_reading(answer) for answer in sort_readings(question))]
    return "\n\n".join(parts)


def sort_readings(question: CurveQuestion) -> list[ReadingAnswer]:
    """Sort the readings of a question by their effect; those without a number last."""
    return sorted(
        question.readings, key=lambda answer: float("inf") if answer.value is None else answer.value
    )


def _share(question: CurveQuestion, answer: str) -> str:
    count, total = question.counts[answer], len(question.readings)
    return f"{count} of {total} ({count / total:.0%})"


def _reading(answer: ReadingAnswer) -> str:
    labels = "; ".join(answer.labels)
    if answer.value is None or answer.lower is None or answer.upper is None or answer.seeds is None:
        return bullet(f"{labels}: **{answer.answer}**, {answer.why}")
    interval = bracketed(answer.lower, answer.upper, 1)
    seeds = f"{answer.seeds} seed{'s' if answer.seeds > 1 else ''}"
    return bullet(
        f"{labels}: **{answer.answer}**, {signed(answer.value, 1)} {interval} ({seeds}); {answer.why}"
    )
