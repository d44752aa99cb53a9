"""Links of published pages and of the documentation lead somewhere: files, and the places in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from links import broken, html_links

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


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebooks_page_leads_back_and_asks_for_nothing(notebook: Path, tmp_path: Path) -> None:
    """Through the template that the workflow uses; its outputs are left out."""
    exporter = pytest.importorskip("nbconvert").HTMLExporter(
        exclude_input=True, template_name="basic", template_file=str(ROOT / "notebooks/page.html.j2")
    )
    text, _ = exporter.from_filename(str(notebook))
    (tmp_path / "index.html").touch()
    (tmp_path / "notebooks").mkdir()
    page = tmp_path / "notebooks" / f"{notebook.stem}.html"
    page.write_text(text)
    assert "../index.html" in html_links(text).targets and list(broken(page, text)) == []
    assert "<title>Notebook" not in text and f"<title>{notebook.stem}" not in text, "a title in words"
    assert not re.search(r'(src|href)="https?:|url\(http|@import', text) and "default-src 'none'" in text


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
