"""One diagnosis of ``mamo doctor``."""

from __future__ import annotations

from typing import NamedTuple


class Diagnosis(NamedTuple):
    """One diagnosis: ``ok``, ``note`` (nothing to do now) or ``wrong`` (with what to do)."""

    state: str
    what: str
    fix: str = ""
