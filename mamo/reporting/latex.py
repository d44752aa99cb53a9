"""Tables in LaTeX, for the booktabs package."""

from __future__ import annotations

from mamo.reporting.tables import ALIKE, DIVERGED, MISSING, NONE, SPREAD, Line, Table

# Signs of ours that text fonts may lack.
_SIGNS = {DIVERGED: r"$\times$", MISSING: r"\ldots{}", NONE: "--", SPREAD: r"$\pm$", ALIKE: r"$\approx$"}
_SIGNS |= {"−": "$-$", "→": r"$\rightarrow$"}


def latex_table(table: Table, caption: str, label: str) -> str:
    """A ``table`` environment: our rows and chance, then the paper's, under headings that span their groups."""
    import pandas as pd

    sections: list[tuple[str, Line]] = [("ours", line) for line in table.ours]
    sections += [("ours", table.chance)] if table.chance else []
    sections += [("reported", line) for line in table.reported]
    grouped = any(heading.group for heading in table.headings)
    columns: pd.Index = (
        pd.MultiIndex.from_tuples([(escape(h.group), escape(h.label)) for h in table.headings])
        if grouped
        else pd.Index([escape(heading.label) for heading in table.headings])
    )
    index = pd.MultiIndex.from_tuples([(section, escape(line.label)) for section, line in sections])
    frame = pd.DataFrame(
        [[escape(text) for text in line.texts] for _, line in sections], index=index, columns=columns
    )
    return str(
        frame.to_latex(
            escape=False,
            multicolumn=True,
            multicolumn_format="c",
            multirow=True,
            caption=escape(caption),
            label=label,
            position="t",
            column_format="ll" + "r" * len(table.headings),
        )
    )


def escape(text: str) -> str:
    """Text with everything that LaTeX reads as a command written out."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {sign: f"\\{sign}" for sign in "&%$#_{}"} | _SIGNS
    return "".join(special.get(character, character) for character in text)
