"""Write texts and tables in Markdown."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from mamo.reporting.tables import Heading, Line

WIDTH = 120  # characters of a line of source
# Would begin a list, a heading, a quotation or a rule at the start of a line.
_MARKUP = re.compile(r"(?:[-+*]|\d+[.)]|#+|>|\||=+|-+|~~~|```)(?:\s|$)")


def markdown_table(headings: Sequence[Heading], lines: Sequence[Line], corner: str = "") -> str:
    """Write lines under headings as a pipe table.

    Args:
        corner: heading of the labels in the first column.
    """
    import pandas as pd

    columns = [
        corner,
        *(
            f"{escape_cell(h.group)}<br>{escape_cell(h.label)}" if h.group else escape_cell(h.label)
            for h in headings
        ),
    ]
    frame = pd.DataFrame(
        [[escape_cell(line.label), *map(escape_cell, line.texts)] for line in lines], columns=columns
    )
    # Keep texts as texts: tabulate would read 71.90 as a number and print 71.9.
    return str(
        frame.to_markdown(index=False, disable_numparse=True, colalign=["left"] + ["right"] * len(headings))
    )


def wrapped(text: str, indent: str = "", first: str | None = None) -> str:
    """Wrap a paragraph to ``WIDTH`` characters, so that no line starts with markup.

    Args:
        indent: before every line.
        first: before the first line instead, such as ``- ``.
    """
    lines = textwrap.wrap(
        " ".join(text.split()),
        WIDTH - len(indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
    joined: list[str] = []
    for line in lines:
        if joined and _MARKUP.match(line):
            joined[-1] += f" {line}"
        else:
            joined.append(line)
    start = indent if first is None else first
    return "\n".join(f"{indent if i else start}{line}" for i, line in enumerate(joined))


def bullet(text: str, depth: int = 0) -> str:
    """Format a paragraph as a list entry."""
    return wrapped(text, "  " * (depth + 1), f"{'  ' * depth}- ")


def folded(summary: str, body: str) -> str:
    """Fold a section: it opens when its summary is clicked."""
    return f"<details>\n<summary>{summary}</summary>\n\n{body}\n\n</details>"


def escape_cell(text: str) -> str:
    """Escape text for one cell of a pipe table, HTML included."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text).replace("|", r"\|").replace("\n", " ")


def escape_alt(text: str) -> str:
    """Escape a picture's alternative text."""
    return re.sub(r"([\\\[\]`<])", r"\\\1", " ".join(text.split()))


def code_span(text: str) -> str:
    """Show a name from data as code; nothing in it works as markup, not even backticks."""
    line = " ".join(text.split())
    ticks = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{pad}{line}{pad}{ticks}"
