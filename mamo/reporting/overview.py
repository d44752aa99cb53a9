"""Write the first page of a scale's reports: every table and figure in one place, and all values in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mamo.files.writing import write_text
from mamo.reporting.collect import write_results, write_statistics
from mamo.reporting.figure_pages import figure_heading
from mamo.reporting.headline import headline, headline_table
from mamo.reporting.ledger import counted, summary
from mamo.reporting.markdown import wrapped
from mamo.reporting.pages import CLAIMS, Page, pages_of
from mamo.reporting.publish import caveat, heading, own_table, reported
from mamo.reporting.tables import make_table
from mamo.reporting.values import TableValues
from mamo.specs.plan import Plan


def write_overview(
    plan: Plan,
    values: Mapping[str, TableValues],
    claims: Sequence[Mapping[str, Any]],
    page: Page,
    reports: Path,
    ablations: Path,
) -> None:
    """Write ``README.md``, ``results.csv`` and ``statistics.csv``.

    Args:
        values: table name -> what ``collect`` gave for it.
        claims: the claims that ``judge`` gave; empty where the plan has none.
        reports: the scale's reports.
    """
    reports.mkdir(parents=True, exist_ok=True)
    write_results([values[name] for name in plan.tables], reports / "results.csv")
    write_statistics([values[name] for name in plan.tables], reports / "statistics.csv")
    scale = plan.scale
    pages = pages_of(plan, ablations)
    parts = [page.mark, f"# {scale.title}", caveat(scale).rstrip()]
    parts.append(headline_table(headline(plan, values, ablations)))
    parts.append(
        wrapped(
            f"Everything at scale `{scale.name}`. Cost: {scale.cost} Each heading leads to the page with the "
            "question, the paper's numbers, the notes and the runs. All values in one file: [results.csv](results.csv); all "
            "intervals and comparisons: [statistics.csv](statistics.csv). Everything on one page, with the figures to explore: "
            "`index.html`."
        )
    )
    if claims:
        parts += [
            f"## [The paper's claims]({pages[CLAIMS].files[0]})",
            wrapped(
                f"{counted(claims, scale)} How they are decided: [{pages[CLAIMS].files[0]}]({pages[CLAIMS].files[0]})."
            ),
            summary(claims),
        ]
    for name, table in plan.tables.items():
        ablation = table.ablation
        parts.append(f"## [{heading(ablation)}]({pages[name].files[0]})")
        parts.append(wrapped(ablation.question))
        drawing = next((file for file in pages[name].files if file.endswith(".png")), None)
        if drawing:
            parts.append(f"![{heading(ablation)}]({drawing})")
        else:
            parts.append(own_table(make_table(ablation, values[name], reported(ablation, ablations))))
        parts.append(wrapped(" ".join(values[name].lengths)))
    for name, bound in plan.figures.items():
        if name in pages and (reports / f"{name}.png").is_file():
            title = figure_heading(bound.figure)
            parts += [
                f"## [{title}]({name}.md)",
                wrapped(bound.figure.caption),
                f"![{title}]({name}.png)",
            ]
    write_text(reports / page.files[0], "\n\n".join(part for part in parts if part) + "\n")
