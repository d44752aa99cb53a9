"""Links of published pages and of the documentation lead somewhere: files, and the places in them."""

from __future__ import annotations

from pathlib import Path

import pytest
from links import broken

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path for folder in ("reports/demo", "docs") for path in (ROOT / folder).rglob("*.*ml"))
PAGES += sorted(path for folder in ("reports/demo", "docs") for path in (ROOT / folder).rglob("*.md"))
# In pages that an earlier version made: they go when the pages are made again.
KNOWN = {("reports/demo/index.html", "#table8_search"), ("reports/demo/index.html", "deviations.yaml")}


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    name = page.relative_to(ROOT).as_posix()
    actual = set(broken(page, page.read_text(encoding="utf-8")))
    assert {target for target in actual if (name, target) not in KNOWN} == set()


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
