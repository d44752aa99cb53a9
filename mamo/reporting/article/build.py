"""Compile the article's content to a PDF with Typst: without a network, with the fonts of its package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mamo.files.writing import atomic_write

TEMPLATE = Path(__file__).with_name("article.typ")
CONTENT = "article.json"  # the template reads it from its own folder


class ArticleError(RuntimeError):
    """The article could not be made; the message says what to do."""


def write_article(content: Mapping[str, Any], reports: Path, out: Path) -> None:
    """Write the PDF.

    Args:
        content: from :func:`mamo.reporting.article.content.content`.
        reports: the scale's, with the drawings.
        out: the PDF's path. The same content gives the same bytes: its date is that of the last run.

    Raises:
        ArticleError: the package ``typst`` is not installed, or it refuses the document.
    """
    try:
        import typst
    except ImportError:
        raise ArticleError("the article needs the package typst: pip install 'mamo[report]'") from None
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / TEMPLATE.name
        shutil.copyfile(TEMPLATE, source)
        (folder / CONTENT).write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        for figure in content["figures"]:
            shutil.copyfile(reports / figure["file"], folder / figure["file"])
        compiler = typst.Compiler(source, root=folder, ignore_system_fonts=True)
        try:
            made = compiler.compile(format="pdf", timestamp=_date(content["started"]))
        except typst.TypstError as error:
            raise ArticleError(f"{TEMPLATE}: {error.message}\n{error.diagnostic}") from error
    with atomic_write(out) as part:
        assert isinstance(made, bytes)  # of a PDF: one file
        part.write_bytes(made)


def _date(started: list[str]) -> datetime:
    """Date of the last run's start; the start of 1970 if no record has one."""
    if not started:
        return datetime.fromtimestamp(0, UTC)
    date = datetime.fromisoformat(started[-1])
    return date if date.tzinfo else date.replace(tzinfo=UTC)
