"""One finding of ``mamo doctor``."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """One finding: ``ok``, ``note`` (nothing to do now) or ``wrong`` (with what to do)."""

    state: str
    what: str
    mend: str = ""
