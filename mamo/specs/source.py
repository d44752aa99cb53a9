"""Sources of settings: metadata of the specs' fields, from which the page on what the paper leaves open is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Source:
    """The source of a setting, and the module where it acts.

    Attributes:
        kind: ``given`` by the paper; ``chosen``, since the paper leaves it open; ``own``: the paper has no counterpart.
        text: the place in the paper; whose choice it is; why there is such a setting.
        acts_in: a module below ``mamo/``; '': that of its spec (``ACTS_IN``).
    """

    kind: Literal["given", "chosen", "own"]
    text: str
    acts_in: str = ""

    @property
    def place(self) -> str:
        """The text as a page shows it: ``section 4.2``, ``ALBEF``."""
        return f"section {self.text}" if self.text[:1].isdigit() else self.text

    def __get_pydantic_json_schema__(self, schema: Any, handler: Any) -> dict[str, Any]:
        """Say it in the JSON schema of the settings too (``mamo dev schema``)."""
        return {**handler(schema), "source": self.place}


def given(place: str, acts_in: str = "") -> Source:
    """Mark a setting that the paper gives."""
    return Source("given", place, acts_in)


def chosen(source: str, acts_in: str = "") -> Source:
    """Mark a setting that the paper leaves open."""
    return Source("chosen", source, acts_in)


def own(why: str, acts_in: str = "") -> Source:
    """Mark a setting without a counterpart in the paper."""
    return Source("own", why, acts_in)
