"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from mamo.reporting.tables import Heading, Line


def markdown_table(headings: Sequence[Heading], lines: Sequence[Line], corner: str = "") -> str:
    """Lines under headings as a pipe table; labels stand left, values right."""
    import pandas as pd

    columns = [corner, *(escape(f"{h.group}<br>{h.label}" if h.group else h.label) for h in headings)]
    frame = pd.DataFrame([[escape(line.label), *map(escape, line.texts)] for line in lines], columns=columns)
    # Texts stay texts: tabulate would take 71.90 for a number and print 71.9.
    return str(
        frame.to_markdown(index=False, disable_numparse=True, colalign=["left"] + ["right"] * len(headings))
    )


def escape(text: str) -> str:
    """Text as one cell of a pipe table."""
    return text.replace("|", r"\|").replace("\n", " ")
