"""Compute how small a difference the results behind a claim could detect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist, median
from typing import Any

from mamo.reporting.resampling import LEVEL

POWER = 0.8


def visible(halves: Sequence[float]) -> float | None:
    """Compute the smallest true difference for which all intervals exclude 0 in a share ``POWER`` of repetitions.

    An interval reaches 1.96 standard errors to each side; a difference shows in 80 of 100 repetitions where it is 0.84 standard
    errors more (Cohen 1988). A claim of several differences sees as little as its widest.

    Args:
        halves: half-widths of the 95 % intervals, in percentage points.
    """
    if not halves:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf(1 - (1 - LEVEL) / 2)
    return max(halves) * (reach + normal.inv_cdf(POWER)) / reach


def power_words(claims: Sequence[Mapping[str, Any]]) -> str:
    """Say which differences the claims could detect, and how many of the paper's are smaller."""
    seen = [claim["sees"] for claim in claims if claim.get("sees") is not None]
    if not seen:
        return ""
    text = (
        f"In {POWER:.0%} of repetitions, the tests of the {len(seen)} claims about differences would show a true difference of "
        f"{median(seen):.1f} percentage points or more (median; {min(seen):.1f} to {max(seen):.1f})"
    )
    paper = [
        (min(abs(number["paper"]) for number in claim["numbers"]), claim["sees"])
        for claim in claims
        if claim.get("sees") is not None
        and claim["test"]["within"] is None
        and all(number["paper"] is not None for number in claim["numbers"])
    ]
    small = sum(gap < least for gap, least in paper)
    if paper:
        text += (
            f". For {small} of the {len(paper)} claims whose difference the paper reports, the paper's is smaller than what "
            "its test could show"
        )
    return text + "."
