"""Links of published pages and of the documentation lead somewhere: files, and the places in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(path for folder in ("reports/demo", "docs") for path in (ROOT / folder).rglob("*.*ml"))
PAGES += sorted(path for folder in ("reports/demo", "docs") for path in (ROOT / folder).rglob("*.md"))
# In pages that an earlier version made: they go when the pages are made again.
KNOWN = {("reports/demo/index.html", "#table8_search"), ("reports/demo/index.html", "deviations.yaml")}


class Links(HTMLParser):
    """The links of an HTML page, and the names of its places."""

    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.names |= {found[name] or "" for name in ("id", "name") if name in found}
        for name in ("href", "src"):
            if tag in ("a", "img", "link", "script") and found.get(name):
                self.targets.append(str(found[name]))


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
    found = html_links(text) if path.suffix == ".html" else None
    for target in found.targets if found else markdown_links(text):
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        name, _, place = target.partition("#")
        other = (path.parent / unquote(name)).resolve() if name else path
        if not other.exists():
            yield target
        elif place and "=" not in place and other.suffix in (".html", ".md"):
            names = found.names if found and other == path else names_of(other)
            # A figure is enlarged, a run opened: these places are made by the page's script.
            if unquote(place) not in names:
                yield target


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    found = set(broken(page, page.read_text(encoding="utf-8")))
    assert {target for target in found if (name, target) not in KNOWN} == set()


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# A place\n")
    page = tmp_path / "a.html"
    links = [
        "there.md",
        "there.md#a-place",
        "there.md#no-place",
        "gone.md",
        "#here",
        "#nowhere",
        "#run=x",
        "https://x.org/y",
    ]
    text = '<p id="here"></p>' + "".join(f'<a href="{link}">x</a>' for link in links)
    page.write_text(text)
    assert list(broken(page, text)) == ["there.md#no-place", "gone.md", "#nowhere"]
    text = "[a](there.md) [b](gone.md) `[c](code.md)`\n```\n[d](fence.md)\n```\n"
    assert list(broken(tmp_path / "a.md", text)) == ["gone.md"]
