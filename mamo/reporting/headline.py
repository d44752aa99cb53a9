"""The headline numbers: MAMO beside the ALBEF-style model and chance, one line per data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mamo.reporting.markdown import markdown_table
from mamo.reporting.publish import reported
from mamo.reporting.tables import NONE, Heading, Line, chance_text, headings_of, primary, show
from mamo.reporting.values import TableValues
from mamo.specs.plan import Plan

MODELS = {"mamo": "MAMO", "albef_style": "ALBEF-style, same budget"}
# In the order of the paper's tables; the other tables are ablations.
TABLES = ("table1", "table2", "table3", "table4", "localisation", "flickr8k", "flickr8k_zero_shot")


@dataclass(frozen=True)
class HeadlineLine:
    """One task and data set of a table that has both models.

    Attributes:
        table: its name.
        labels: of the columns.
        models: row key -> a text per column, the half of its 95 % interval included.
        chance: a text per column.
    """

    table: str
    title: str
    group: str
    labels: list[str]
    seeds: int
    models: dict[str, list[str]]
    chance: list[str]


def headline(plan: Plan, values: Mapping[str, TableValues], ablations: Path) -> list[HeadlineLine]:
    """Make one line for each task and data set; columns without a value of ours are left out.

    Args:
        values: table name -> what ``collect`` gave for it.
        ablations: the folder of the ablation files and the paper's numbers.
    """
    titles = _titles(plan)
    lines = []
    for name in TABLES:
        if name not in plan.tables or name not in values:
            continue
        ablation = plan.tables[name].ablation
        if not set(MODELS) <= {row.key for row in ablation.rows}:
            continue
        headings = headings_of(ablation, reported(ablation, ablations))
        ours = {
            model: [
                show(values[name].at(model, h.key), 1, values[name].statistics_at(model, h.key))
                for h in headings
            ]
            for model in MODELS
        }
        chance = [chance_text(values[name], MODELS, h.key, 1) for h in headings]
        first = primary(headings)
        for group in dict.fromkeys(heading.group for heading in headings):
            places = [
                i
                for i, heading in enumerate(headings)
                if heading.group == group and first[i] and any(texts[i] != NONE for texts in ours.values())
            ]
            if places:
                lines.append(
                    HeadlineLine(
                        table=name,
                        title=titles[name],
                        group=group,
                        labels=_short([headings[i].label for i in places]),
                        seeds=ablation.seeds,
                        models={key: [texts[i] for i in places] for key, texts in ours.items()},
                        chance=[chance[i] for i in places],
                    )
                )
    return lines


def _titles(plan: Plan) -> dict[str, str]:
    """Shorten tables' titles by their data sets, which every line names, unless two would become alike."""
    whole = {name: plan.tables[name].ablation.title for name in TABLES if name in plan.tables}
    short = {name: title.partition(" on ")[0] for name, title in whole.items()}
    alike = Counter(short.values())
    return {name: short[name] if alike[short[name]] == 1 else whole[name] for name in whole}


def _short(labels: list[str]) -> list[str]:
    """Shorten labels that end in the same word: ``TR``, ``IR R@1``."""
    ends = {label.rpartition(" ")[2] for label in labels}
    if len(labels) > 1 and len(ends) == 1 and all(" " in label for label in labels):
        return [label.rpartition(" ")[0] for label in labels[:-1]] + labels[-1:]
    return labels


def headline_table(lines: Sequence[HeadlineLine]) -> str:
    """Format the lines as a pipe table; '' if there are none."""
    if not lines:
        return ""
    headings = [Heading(key, label, "") for key, label in MODELS.items()]
    headings = [Heading("seeds", "seeds", ""), *headings, Heading("chance", "chance", "")]
    return markdown_table(
        headings,
        [
            Line(
                line.table,
                f"[{line.title}]({line.table}.md): {line.group}, {' / '.join(line.labels)}",
                (
                    str(line.seeds),
                    *(" / ".join(line.models[key]) for key in MODELS),
                    " / ".join(line.chance),
                ),
            )
            for line in lines
        ],
    )
