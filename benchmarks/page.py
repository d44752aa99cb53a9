"""The tables of docs/performance.md and docs/gpu.md, filled in from the results.

Between ``<!-- NAME: TABLE -->`` and ``<!-- end -->`` stands a table of ``results/NAME.json``; the rest of the page is written
by hand.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from benchmarks.measure import RESULTS, shown

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (DOCS / "performance.md", DOCS / "gpu.md")
MARKED = re.compile(r"(<!-- (\w+): ([^>]+?) -->\n).*?(<!-- end -->)", re.DOTALL)


def write_pages() -> None:
    """Fill in the pages."""
    for page in PAGES:
        page.write_text(filled(page.read_text(encoding="utf-8")), encoding="utf-8")


def filled(text: str, results: Path = RESULTS) -> str:
    """A page's text with the results' tables and figures, or with what is still to be measured."""

    def one(match: re.Match[str]) -> str:
        begin, name, table, end = match.groups()
        path = results / f"{name}.json"
        if not path.is_file():
            return f"{begin}*Not measured yet: `python -m benchmarks {name}`.*\n{end}"
        result = json.loads(path.read_text(encoding="utf-8"))
        if table == "machine":
            return begin + _machine(result["machine"]) + end
        if table == "figure":
            return f"{begin}![{result['title']}](images/{name}.svg)\n{end}"
        return begin + _table(result["tables"].get(table, [])) + end

    return MARKED.sub(one, text)


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    numbers = [any(isinstance(row.get(column), int | float) for row in rows) for column in columns]
    lines = [columns, ["---:" if number else "---" for number in numbers]]
    lines += [[shown(row[column]) if column in row else "" for column in columns] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _machine(machine: dict[str, Any]) -> str:
    bf16 = " and ".join(machine["bf16"]) or "no instructions for bf16"
    return (
        f"{machine['date']}, {machine['processor']} ({bf16}), {machine['cores']} cores, {machine['threads']} thread, "
        f"load {machine['load']}; torch {machine['torch']}.\n"
    )


if __name__ == "__main__":
    write_pages()
