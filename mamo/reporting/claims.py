"""The claims ledger: each claim's test over the results, and its verdict with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mamo.reporting.claim_tables import TableResults
from mamo.reporting.findings import APART, ContrastEstimate, Finding, Verdict, open_claim
from mamo.reporting.names import column_names, row_names, table_name
from mamo.reporting.resampling import LEVEL, Noise
from mamo.specs.claims import CHANCE, REPORTED, ClaimSpec, ClaimTest, is_row, read_claims
from mamo.specs.plan import Plan

PER_STEP = 0.1  # slopes are given for ten more percent of masking
Contrast = Mapping[str, float]  # term -> weight
# A pre-training of fewer steps shows that it runs, and nothing else: its numbers must not be taken for an answer.
PLUMBING_STEPS = 100


def plumbing_only(plan: Plan) -> bool:
    """Check whether every pre-training of a plan is too short to learn anything, so that its results decide nothing."""
    steps = []
    for run in plan.by_kind("pretrain"):
        schedule = run.spec["schedule"]
        if schedule["steps_per_epoch"] is None:  # as many as the data has
            return False
        steps.append(schedule["epochs"] * schedule["steps_per_epoch"])
    return bool(steps) and max(steps) < PLUMBING_STEPS


def judge(plan: Plan, results: Path, ablations: Path) -> dict[str, Any]:
    """Decide all claims from the records that exist.

    Args:
        results: the scale's results.
        ablations: the folder of the ablation files, the claims and the paper's numbers.

    Returns:
        plain JSON values: ``table`` (always ``claims``), ``scale``, ``claims`` (see :meth:`Finding.as_dict`), ``missing``
        (keys of runs without a record) and ``plumbing`` (whether no verdict is given, see :func:`plumbing_only`).
    """
    claims = read_claims(ablations, plan.tables)
    tables = {claim.test.table for claim in claims} & set(plan.tables)
    judged_tables = {
        name: TableResults(plan, table, results, ablations)
        for name, table in plan.tables.items()
        if name in tables
    }
    findings = [Judge(plan, judged_tables).finding(claim) for claim in claims]
    missing = dict.fromkeys(
        key for judged in judged_tables.values() for key, record in judged.records.items() if record is None
    )
    return {
        "table": "claims",
        "scale": plan.scale.name,
        "claims": [finding.as_dict() for finding in findings],
        "missing": list(missing),
        "plumbing": plumbing_only(plan),
    }


class Judge:
    """Decide claims over the tables of one scale."""

    def __init__(self, plan: Plan, tables: Mapping[str, TableResults]) -> None:
        self.plan, self.tables = plan, tables
        self.plumbing = plumbing_only(plan)

    def finding(self, claim: ClaimSpec) -> Finding:
        """Judge a claim."""
        test = claim.test
        if self.plumbing:
            why = f"pre-trainings of fewer than {PLUMBING_STEPS} steps show that every job runs, and nothing else"
            return open_claim(claim, "plumbing", why)
        if test.table not in self.tables:
            return open_claim(
                claim, "unplanned", f"{table_name(test.table)} is not made at scale {self.plan.scale.name}"
            )
        table = self.tables[test.table]
        if test.ends is not None:
            return self._outcome(claim, *test.ends, table)
        obstacle = self._obstacle(claim, table)
        if obstacle is not None:
            return obstacle
        numbers = self._numbers(test, table)
        if not numbers:
            return open_claim(claim, "missing", "no seed has results for all compared rows")
        if any(number.seeds < 2 and not number.borrowed for number in numbers):
            why = "one seed: the numbers say how these models differ, not what the method does"
            return open_claim(claim, "seeds", why, numbers)
        verdict, why = _decide(test, numbers)
        return Finding(claim, verdict, why, tuple(numbers), "small" if verdict == "cannot tell" else "")

    def _obstacle(self, claim: ClaimSpec, table: TableResults) -> Finding | None:
        """Find a reason that settles or blocks a verdict before any number is looked at."""
        test, names = claim.test, row_names(table.ablation)
        if self.plan.scale.caveat is not None and any(term.startswith(REPORTED) for term in test.terms):
            why = "the other model's number comes from other data; comparable at scale paper only"
            return Finding(claim, APART, why, (), "reported")
        columns = table.columns(test)
        if not columns:
            return open_claim(claim, "columns", "its rows share no column")
        ended = {row: table.outcomes(row) for row in test.rows}
        waiting = [names[row] for row in test.rows if table.waits(row, columns)]
        if waiting:
            return open_claim(claim, "missing", f"results are missing: {', '.join(waiting)}")
        # One that was trained on has numbers, and they are compared.
        diverged = [
            row
            for row, outcomes in ended.items()
            if set(outcomes) == {"diverged"} and not table.grid.has(row, columns)
        ]
        if len(diverged) == 1 and len(test.rows) == 2 and test.within is None:
            why = f"every training of {names[diverged[0]]} diverged, and the other's did not"
            return Finding(claim, "supported" if test.contrast[0][diverged[0]] < 0 else "refuted", why)
        if diverged:
            outcomes = ", ".join(names[row] for row in diverged)
            return open_claim(claim, "diverged", f"every training of {outcomes} diverged")
        if CHANCE not in test.terms and not self._learned(test, table, columns):
            why = "no compared row is better than chance, so their differences mean nothing"
            return open_claim(claim, "chance", why)
        return None

    def _learned(self, test: ClaimTest, table: TableResults, columns: Sequence[str]) -> bool:
        chance, mean = table.chance(columns), _mean(columns)
        if chance is None:
            return True
        own = [table.grid.estimate({row: 1.0}, mean, self._lent(table, mean, False)) for row in test.rows]
        return any(estimate is not None and estimate.lower > chance for estimate in own)

    def _lent(self, table: TableResults, columns: Mapping[str, float], comparison: bool) -> Noise | None:
        """Borrow the noise between seeds, for a table of one seed, from another table of the scale with the same metrics."""
        if table.ablation.seeds > 1:
            return None
        weighted_columns = {
            (c.job, c.metric): columns[c.key] for c in table.ablation.columns if c.key in columns
        }
        lenders = []
        for other in self.tables.values():
            known = {(c.job, c.metric): c.key for c in other.ablation.columns}
            if other.ablation.seeds > 1 and set(weighted_columns) <= set(known):
                noise = other.grid.noise(
                    {known[what]: weight for what, weight in weighted_columns.items()}, comparison
                )
                lenders += [noise] if noise else []
        return max(lenders, key=lambda noise: noise.freedom, default=None)

    def _numbers(self, test: ClaimTest, table: TableResults) -> list[ContrastEstimate]:
        """Estimate a test's contrasts; those that lack results are left out."""
        columns, headings = table.columns(test), column_names(table.ablation)
        places = [(f" in {headings[c]}", {c: 1.0}) for c in columns] if test.each else [("", _mean(columns))]
        pairs = [(contrast, place) for contrast in _contrasts(test, table) for place in places]
        estimates = (self._number(label + where, table, c, weights) for (label, c), (where, weights) in pairs)
        return [number for number in estimates if number is not None]

    def _number(
        self, label: str, table: TableResults, contrast: Contrast, columns: Contrast
    ) -> ContrastEstimate | None:
        """Estimate a contrast in a weighted mean of columns; None where one of its terms is not known."""
        rows = {term: weight for term, weight in contrast.items() if is_row(term)}
        lent = self._lent(table, columns, len(rows) > 1)
        estimate, constant = table.grid.estimate(rows, columns, lent), table.constant(contrast, columns)
        if estimate is None or constant is None:
            return None
        return ContrastEstimate(
            label,
            estimate.value + constant,
            estimate.lower + constant,
            estimate.upper + constant,
            estimate.seeds,
            estimate.images,
            estimate.seeds < 2 and lent is not None,
            table.reported(contrast, columns),
        )

    def _outcome(self, claim: ClaimSpec, row: str, status: str, table: TableResults) -> Finding:
        ended = table.outcomes(row)
        if "missing" in ended:
            return open_claim(claim, "missing", f"results are missing: {row_names(table.ablation)[row]}")
        count = ended.count(status)
        why = f"{count} of {len(ended)} trainings {status}"
        if 0 < count < len(ended):
            return open_claim(claim, "mixed", why)
        return Finding(claim, "supported" if count else "refuted", why)


def _contrasts(test: ClaimTest, table: TableResults) -> list[tuple[str, Contrast]]:
    """Return the contrasts of a test, each with a label such as ``full − itc_itm``."""
    rows = test.rises or test.falls
    if not rows:
        return [(table.label(contrast), contrast) for contrast in test.contrast]
    place_of = {row.key: row.x or 0.0 for row in table.ablation.rows}
    x = np.array([place_of[row] for row in rows])
    slope = (x - x.mean()) / ((x - x.mean()) ** 2).sum() * (PER_STEP if test.rises else -PER_STEP)
    label = f"{'rise' if test.rises else 'fall'} for each ten percent"
    return [(label, dict(zip(rows, slope.tolist(), strict=True)))]


def _mean(columns: Sequence[str]) -> dict[str, float]:
    return dict.fromkeys(columns, 1 / len(columns)) if columns else {}


def _decide(test: ClaimTest, numbers: Sequence[ContrastEstimate]) -> tuple[Verdict, str]:
    """Decide by intervals: all of them must agree to support, one that clearly contradicts refutes."""
    single, bound = len(numbers) == 1, test.above
    bound_text = f"{bound:g}".replace("-", "−")
    if (near := test.within) is not None:
        if all(-near < number.lower and number.upper < near for number in numbers):
            return "supported", f"every interval lies within {near:g} points"
        if any(number.lower > near or number.upper < -near for number in numbers):
            return "refuted", f"an interval lies beyond {near:g} points"
        return "cannot tell", f"the intervals reach beyond {near:g} points"
    if all(number.lower > bound for number in numbers):
        return "supported", f"{'the' if single else 'every'} interval is above {bound_text}"
    # Of many intervals, one is below the bound by chance: it must do so for all of them together.
    below = [number for number in numbers if number.upper < bound]
    if single and below:
        return "refuted", f"the interval is below {bound_text}"
    if any(_far_below(number, bound, len(numbers)) for number in below):
        return "refuted", f"{below[0].label} is below {bound_text}"
    return (
        "cannot tell",
        f"the interval holds {bound_text}" if single else f"not every interval is above {bound_text}",
    )


def _far_below(number: ContrastEstimate, bound: float, count: int) -> bool:
    """Check that an interval widened for ``count`` comparisons (as a normal distribution's would be) still is below a bound."""
    from statistics import NormalDist

    normal = NormalDist()
    edge = (1 - LEVEL) / 2
    wider = normal.inv_cdf(1 - edge / count) / normal.inv_cdf(1 - edge)
    return number.value + (number.upper - number.value) * wider < bound
