"""Write tables in LaTeX, for the packages booktabs, multirow and graphicx."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mamo.reporting.tables import ALIKE, DIVERGED, MISSING, NONE, SPREAD, Line, Table

# Our signs that text fonts may lack.
_SIGNS = {DIVERGED: r"$\times$", MISSING: r"\ldots{}", NONE: "--", SPREAD: r"$\pm$", ALIKE: r"$\approx$"}
_SIGNS |= {"−": "$-$", "→": r"$\rightarrow$"}
NEEDS = "% Needs \\usepackage{booktabs}, \\usepackage{multirow} and \\usepackage{graphicx}.\n"
_COLUMN = 62  # characters of a slightly reduced table that fit into a column of a two-column page


def latex_table(table: Table, caption: str, label: str, bold: bool = False) -> str:
    """Write a ``table`` environment: our rows and chance, then the paper's, under headings that span their groups.

    A table wider than a column becomes a ``table*``; one that is still too wide is scaled down.

    Args:
        caption: without a number, since LaTeX adds it.
        bold: print the best value of each column bold, ours and the paper's apart.
    """
    import pandas as pd

    ours = _bold(table.ours) if bold else [_escaped(line) for line in table.ours]
    ours += [_escaped(table.chance)] if table.chance else []
    reported = _bold(table.reported) if bold else [_escaped(line) for line in table.reported]
    sections = [("ours", line) for line in ours] + [("reported", line) for line in reported]
    grouped = any(heading.group for heading in table.headings)
    columns: pd.Index = (
        pd.MultiIndex.from_tuples([(escape_latex(h.group), escape_latex(h.label)) for h in table.headings])
        if grouped
        else pd.Index([escape_latex(heading.label) for heading in table.headings])
    )
    index = pd.MultiIndex.from_tuples([(section, label) for section, (label, _) in sections])
    frame = pd.DataFrame([texts for _, (_, texts) in sections], index=index, columns=columns)
    text = str(
        frame.style.to_latex(
            hrules=True,
            multicol_align="c",
            multirow_align="t",
            environment="table*" if _width(table) > _COLUMN else "table",
            caption=escape_latex(caption),
            label=label,
            position="t",
            position_float="centering",
            column_format="ll" + "r" * len(table.headings),
        )
    )
    # A rule between ours and the paper's, and none before the last rule.
    text = re.sub(
        r"(?<=\\\\\n)(?=\\multirow(?:\[t\])?\{\d+\}\{\*\}\{reported\}|reported &)", r"\\midrule\n", text
    )
    # Never wider than its column or page.
    fitted = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{\\begin{tabular}"
    text = text.replace("\\begin{tabular}", fitted).replace("\\end{tabular}", "\\end{tabular}}")
    return text


def _width(table: Table) -> int:
    """Count the characters of the widest line: labels and the widest text of each column."""
    lines = [*table.ours, *([table.chance] if table.chance else []), *table.reported]
    labels = max((len(line.label) for line in lines), default=0)
    columns = [
        max(len(heading.label), *(len(line.texts[i]) for line in lines)) if lines else len(heading.label)
        for i, heading in enumerate(table.headings)
    ]
    return len("reported") + labels + sum(columns) + 2 * len(columns)


def _escaped(line: Line) -> tuple[str, list[str]]:
    return escape_latex(line.label), [escape_latex(text) for text in line.texts]


def _bold(lines: Sequence[Line]) -> list[tuple[str, list[str]]]:
    """Make the greatest value of each column bold, unless all are equal."""
    values = [[_value(text) for text in line.texts] for line in lines]
    best = []
    for column in zip(*values, strict=True):
        known = {value for value in column if value is not None}
        best.append(max(known) if len(known) > 1 else None)
    shown = []
    for line, own in zip(lines, values, strict=True):
        texts = []
        for text, value, top in zip(line.texts, own, best, strict=True):
            start = re.match(r"[\d.,]+", text)
            if top is not None and value == top and start:
                texts.append(rf"\textbf{{{escape_latex(start[0])}}}{escape_latex(text[start.end() :])}")
            else:
                texts.append(escape_latex(text))
        shown.append((escape_latex(line.label), texts))
    return shown


def _value(text: str) -> float | None:
    """Read the number at the start of a cell's text; None if there is none."""
    match = re.match(r"\d[\d,]*(?:\.\d+)?", text)
    return float(match[0].replace(",", "")) if match else None


def escape_latex(text: str) -> str:
    """Escape everything that LaTeX would read as a command."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | _SIGNS
    return "".join(special.get(character, character) for character in text)
