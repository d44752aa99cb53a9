"""Relative links of pages, and where they lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote


class Links(HTMLParser):
    """The links of an HTML page, and the names of its places."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.names |= {values[name] or "" for name in ("id", "name") if name in values}
        for name in ("href", "src"):
            if tag in ("a", "img", "link", "script") and values.get(name):
                self.targets.append(str(values[name]))


def html_links(text: str) -> Links:
    parser = Links()
    parser.feed(text)
    return parser


def markdown_links(text: str) -> list[str]:
    plain = re.sub(r"`[^`\n]+`", "", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", plain)


def names_of(path: Path) -> set[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        return html_links(text).names
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


def broken(path: Path, text: str) -> Iterator[str]:
    """The relative links of a page that lead nowhere."""
    page = html_links(text) if path.suffix == ".html" else None
    for target in page.targets if page else markdown_links(text):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, place = target.partition("#")
        other = (path.parent / unquote(name)).resolve() if name else path
        if not other.exists():
            yield target
        elif place and "=" not in place and other.suffix in (".html", ".md"):
            names = page.names if page and other == path else names_of(other)
            # A figure is enlarged, a run opened: these places are made by the page's script.
            if unquote(place) not in names:
                yield target
