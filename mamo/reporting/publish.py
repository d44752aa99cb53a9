"""Write one published page: Markdown, CSV and LaTeX of a table, and the drawing of a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mamo.files.writing import write_text
from mamo.reporting.agreement import agreement_text
from mamo.reporting.claims import plumbing_only
from mamo.reporting.curve_figure import draw_curve
from mamo.reporting.differences import base_label, differences_section, make_differences
from mamo.reporting.figure import draw
from mamo.reporting.health import missed_checks
from mamo.reporting.latex import NEEDS, latex_table
from mamo.reporting.markdown import bullet, escape_cell, markdown_table, wrapped
from mamo.reporting.names import column_names
from mamo.reporting.pages import Page
from mamo.reporting.paper import PaperTable, load_paper
from mamo.reporting.specification_curve import curve_section
from mamo.reporting.table_csv import write_csv
from mamo.reporting.tables import NONE, Table, make_table, primary, select_columns
from mamo.reporting.tracked import metrics_file, write_metrics
from mamo.reporting.values import TableValues
from mamo.specs.ablation import AblationSpec
from mamo.specs.lint import row_changes
from mamo.specs.plan import Plan, TablePlan
from mamo.specs.scale import Scale


def publish(
    plan: Plan, table: TablePlan, values: TableValues, page: Page, reports: Path, ablations: Path
) -> None:
    """Write a page's files below ``reports``, the Markdown page last.

    Args:
        values: from ``collect``.
        reports: the scale's reports.
        ablations: the folder of the ablation files and the paper's numbers.
    """
    ablation = table.ablation
    reports.mkdir(parents=True, exist_ok=True)
    paper = reported(ablation, ablations)
    shown = make_table(ablation, values, paper)
    title = f"{heading(ablation)} ({plan.scale.name})"
    gaps = make_differences(ablation, values, paper)
    write_csv(ablation, values, paper, reports / f"{page.name}.csv")
    write_metrics(values, reports / metrics_file(page.name))
    write_text(reports / f"{page.name}.tex", latex_of(plan, ablation, shown, gaps, page.name, values.lengths))
    drawings = [reports / file for file in page.files if file.endswith((".png", ".svg"))]
    if drawings and ablation.kind == "readings":
        draw_curve(ablation.readings, values.curve, title, drawings)
    elif drawings:
        draw(ablation, values, title, drawings)
    write_text(reports / page.files[0], _page(plan, table, values, shown, gaps, paper, page))


def latex_of(
    plan: Plan,
    ablation: AblationSpec,
    shown: Table,
    gaps: Table | None,
    name: str,
    lengths: Sequence[str] = (),
) -> str:
    """Write a table in LaTeX: the main columns, then all of them if there are more, and the differences.

    Args:
        lengths: sentences on how long the rows were pre-trained, for the caption.
    """
    title = f"{ablation.title} (scale {plan.scale.name})"
    ranked = ablation.kind == "table"  # larger counts are not better
    legend = "; ".join(f"{sign} {meaning}" for sign, meaning in shown.legend.items())
    caption = " ".join([f"{title}.", *lengths, *([f"{legend[0].upper()}{legend[1:]}."] if legend else [])])
    first = primary(shown.headings)
    tables = []
    if all(first):
        tables.append(latex_table(shown, caption, f"tab:{name}", ranked))
    else:
        tables.append(latex_table(select_columns(shown, first), caption, f"tab:{name}", ranked))
        tables.append(latex_table(shown, f"{caption} All columns.", f"tab:{name}-all", ranked))
    if gaps:
        against = f"{title}: difference from {base_label(ablation)}, with 95 % intervals."
        tables.append(latex_table(gaps, against, f"tab:{name}-differences"))
    return NEEDS + "\n" + "\n".join(tables)


def reported(ablation: AblationSpec, ablations: Path) -> PaperTable | None:
    """Read the paper's numbers for an ablation; None if it has none."""
    return load_paper(ablation.paper, ablations) if ablation.paper else None


def heading(ablation: AblationSpec) -> str:
    """Make a heading such as ``Table 5: Ablation of the pre-training tasks``; without a counterpart, only the title."""
    word = ablation.paper or ""
    number = word.lstrip("abcdefghijklmnopqrstuvwxyz")
    return (
        f"{word.removesuffix(number).capitalize()} {number}: {ablation.title}"
        if number.isdigit()
        else ablation.title
    )


def caveat(scale: Scale) -> str:
    """Format the scale's caveat as a quotation, with a link to its protocol, followed by a blank line; '' if it has neither."""
    words = [scale.caveat] if scale.caveat else []
    if scale.protocol:  # of a page below reports/SCALE
        words.append(
            "What is run and how it is judged was fixed before the runs, in the "
            f"[protocol](../../{scale.protocol}), which lists every deviation from it."
        )
    return wrapped(f"**Scale `{scale.name}`.** {' '.join(words)}", "> ") + "\n\n" if words else ""


def own_table(table: Table) -> str:
    """Format our rows with chance below them, and the meanings of the signs."""
    lines = [*table.ours, *([table.chance] if table.chance else [])]
    shown = select_columns(
        table, [any(line.texts[i] != NONE for line in lines) for i, _ in enumerate(table.headings)]
    )
    text = markdown_table(shown.headings, [*shown.ours, *([shown.chance] if shown.chance else [])])
    legend = "; ".join(f"{sign} {meaning}" for sign, meaning in table.legend.items())
    return text + (f"\n\n{legend}." if legend else "")


def _page(
    plan: Plan,
    table: TablePlan,
    values: TableValues,
    shown: Table,
    gaps: Table | None,
    paper: PaperTable | None,
    page: Page,
) -> str:
    ablation = table.ablation
    parts = [
        page.mark,
        f"# {heading(ablation)}",
        caveat(plan.scale).rstrip(),
        wrapped(f"**Question.** {ablation.question}"),
        wrapped(f"**Expected.** {ablation.hypothesis}"),
        f"## Ours (scale `{plan.scale.name}`)",
    ]
    parts += [f"![{heading(ablation)}]({file})" for file in page.files if file.endswith(".png")]
    if ablation.kind == "readings":
        parts += [curve_section(values.curve), "## Every model under every reading"]
        gaps = None  # only differences within a reading count
    parts.append(own_table(shown))
    parts.append(wrapped(" ".join(values.lengths)))
    if gaps:
        parts += [f"## Against {base_label(ablation)}", differences_section(ablation, values, gaps, paper)]
    if shown.reported and paper:
        parts += [f"## {paper.heading}", markdown_table(shown.headings, shown.reported)]
        parts.append(wrapped(" ".join(paper.notes)))
        if not plumbing_only(plan):
            parts.append(wrapped(agreement_text(values.agreement, column_names(ablation))))
    notes = [*ablation.notes, *dict.fromkeys(c.note for c in ablation.columns if c.note)]
    if notes:
        parts += ["## Notes", "\n".join(bullet(note) for note in notes)]
    changed = row_changes(plan, table)
    lines = [
        bullet(
            f"{escape_cell(row.label)}: {', '.join(f'`{line}`' for line in changed[row.key]) or 'the base row'}"
        )
        for row in ablation.rows
    ]
    parts += ["## What each row changes", "\n".join(lines)] if lines else []
    missed = missed_checks(ablation, values)
    parts += (
        ["## Checks that rows miss", "\n".join(bullet(escape_cell(line)) for line in missed)]
        if missed
        else []
    )
    runs = _runs(ablation, values)
    parts += ["## Runs", runs] if runs else []
    return "\n\n".join(part for part in parts if part) + "\n"


def _runs(ablation: AblationSpec, values: TableValues) -> str:
    """List the pre-training behind each row, and how it ended."""
    labels = {row.key: row.label for row in ablation.rows}
    lines = []
    for row, endings in values.pretrainings.items():
        for ending in endings:
            reason = f": {ending.reason}" if ending.reason else ""
            lines.append(f"- {escape_cell(labels[row])}: `{ending.run}` ({ending.outcome}{reason})")
    if ablation.kind == "statistics":
        lines = [f"- `{run}`" for run in dict.fromkeys(cell.run for cell in values.cells)]
    return "\n".join(lines)
