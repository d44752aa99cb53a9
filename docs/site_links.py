"""For the documentation as a site (mkdocs.yml): links that lead out of docs/ become their words.

In the repository these links lead to files beside the documentation, which a site does not hold. MkDocs checks all others.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?![a-z][a-z+.-]*:|#)<?([^)\s>#]+)[^)]*\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """MkDocs calls this with each page's text."""
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1

    def shown(link: re.Match[str]) -> str:
        up = sum(part == ".." for part in PurePosixPath(link[2]).parts)
        return link[1] if up > depth or link[2].endswith(".yaml") else link[0]

    return LINK.sub(shown, markdown)
