"""Tables in Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mamo.reporting.tables import Heading, Line


def markdown_table(headings: Sequence[Heading], lines: Sequence[Line], corner: str = "") -> str:
    """Lines under headings as a pipe table; labels stand left, values right."""
    import pandas as pd

    columns = [
        corner,
        *(f"{escape(h.group)}<br>{escape(h.label)}" if h.group else escape(h.label) for h in headings),
    ]
    frame = pd.DataFrame([[escape(line.label), *map(escape, line.texts)] for line in lines], columns=columns)
    # Texts stay texts: tabulate would take 71.90 for a number and print 71.9.
    return str(
        frame.to_markdown(index=False, disable_numparse=True, colalign=["left"] + ["right"] * len(headings))
    )


def escape(text: str) -> str:
    """Text as one cell of a pipe table, in which no markup of HTML can begin."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("|", r"\|").replace("\n", " ")


def code_span(text: str) -> str:
    """A name that comes from data, shown as it is: nothing in it is markup, not even backticks."""
    line = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"
