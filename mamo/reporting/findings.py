"""The result for a claim: a verdict or the reason why there is none, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mamo.reporting.differences import signed
from mamo.reporting.names import table_name
from mamo.reporting.power import visible
from mamo.specs.claims import ClaimSpec

Verdict = Literal["supported", "refuted", "cannot tell", "not testable here"]
APART: Verdict = "not testable here"  # no result of this scale could decide it
VERDICTS: tuple[Verdict, ...] = ("supported", "refuted", "cannot tell", APART)
# Reasons why a claim stays open: key -> heading, first those that more results would settle.
REASONS = {
    "small": "The difference is smaller than the interval",
    "seeds": "One seed, and no estimate of the noise between seeds",
    "mixed": "Some trainings ended that way, and others did not",
    "chance": "No compared model is better than chance",
    "diverged": "Every training diverged, so there is nothing to compare",
    "reported": "Compares with other people's numbers, from other data",
    "missing": "Results are missing",
    "unplanned": "The table is not part of this scale",
    "columns": "The rows share no column",
    "plumbing": "This scale checks the plumbing only",
}


@dataclass(frozen=True)
class ContrastEstimate:
    """One estimate behind a verdict, in percentage points.

    Attributes:
        label: name of the estimate.
        borrowed: whether the noise between seeds was taken from other tables, since this one has one seed.
        paper: the same from the paper's numbers, if it gives them.
    """

    label: str
    value: float
    lower: float
    upper: float
    seeds: int
    images: int
    borrowed: bool
    paper: float | None

    @property
    def text(self) -> str:
        """For example ``full − itc_itm: +1.2 [−0.4, +2.8]; paper +3.1``."""
        ours = f"{self.label}: {signed(self.value, 1)} [{signed(self.lower, 1)}, {signed(self.upper, 1)}]"
        return ours + (f"; paper {signed(self.paper, 1)}" if self.paper is not None else "")


@dataclass(frozen=True)
class Finding:
    """A claim with its verdict.

    Attributes:
        why: the reason for the verdict, in words.
        numbers: the estimates that the verdict rests on.
        reason: a key of ``REASONS`` where these results cannot tell, or none of this scale could; '' for a verdict.
    """

    claim: ClaimSpec
    verdict: Verdict
    why: str
    numbers: tuple[ContrastEstimate, ...] = field(default=())
    reason: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        numbers = [asdict(number) | {"text": number.text} for number in self.numbers]
        claim = self.claim.model_dump(mode="json")
        return claim | {
            "verdict": self.verdict,
            "why": self.why,
            "reason": self.reason,
            "shown_in": table_name(self.claim.test.table),
            "numbers": numbers,
            "sees": visible([(number.upper - number.lower) / 2 for number in self.numbers]),
        }


def open_claim(claim: ClaimSpec, reason: str, why: str, numbers: Sequence[ContrastEstimate] = ()) -> Finding:
    """Make the finding for a claim that these results cannot decide."""
    return Finding(claim, "cannot tell", why, tuple(numbers), reason)
