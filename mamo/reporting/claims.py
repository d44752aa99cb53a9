"""The claims ledger: each claim's test over the results, and its verdict with the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mamo.reporting.claim_tables import TableResults
from mamo.reporting.findings import APART, Finding, Number, Verdict, open_claim
from mamo.reporting.names import column_names, row_names, table_name
from mamo.reporting.resampling import LEVEL, Estimate, Noise
from mamo.specs.claims import (
    BestTest,
    ChanceTest,
    ClaimSpec,
    CloseTest,
    GainTest,
    GreaterTest,
    OutcomeTest,
    ReportedTest,
    Test,
    TrendTest,
    read_claims,
    rows_of,
)
from mamo.specs.plan import Plan

PER_STEP = 0.1  # slopes are given for ten more percent of masking
# A shorter pre-training shows only that it runs: its numbers must not decide anything.
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
    claims = read_claims(ablations)
    tables = {claim.test.table for claim in claims} & set(plan.tables)
    found = {
        name: TableResults(plan, table, results, ablations)
        for name, table in plan.tables.items()
        if name in tables
    }
    findings = [Judge(plan, found).finding(claim) for claim in claims]
    missing = dict.fromkeys(
        key for one in found.values() for key, record in one.records.items() if record is None
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
        """A claim's verdict."""
        test = claim.test
        if self.plumbing:
            why = f"pre-trainings of fewer than {PLUMBING_STEPS} steps show that every job runs, and nothing else"
            return open_claim(claim, "plumbing", why)
        if test.table not in self.tables:
            return open_claim(
                claim, "unplanned", f"{table_name(test.table)} is not made at scale {self.plan.scale.name}"
            )
        table = self.tables[test.table]
        if isinstance(test, OutcomeTest):
            return self._outcome(claim, test, table)
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
        if isinstance(test, ReportedTest) and self.plan.scale.caveat is not None:
            why = "the other model's number comes from other data; comparable at scale paper only"
            return Finding(claim, APART, why, (), "reported")
        columns = table.columns(test)
        if not columns:
            return open_claim(claim, "columns", "its rows share no column")
        ended = {row: table.outcomes(row) for row in rows_of(test)}
        waiting = [names[row] for row, those in ended.items() if "missing" in those]
        if waiting:
            return open_claim(claim, "missing", f"results are missing: {', '.join(waiting)}")
        diverged = [row for row, those in ended.items() if set(those) == {"diverged"}]
        if diverged and isinstance(test, GreaterTest) and len(diverged) == 1:
            why = f"every training of {names[diverged[0]]} diverged, and the other's did not"
            return Finding(claim, "supported" if diverged == [test.than] else "refuted", why)
        if diverged:
            those = ", ".join(names[row] for row in diverged)
            return open_claim(claim, "diverged", f"every training of {those} diverged")
        if not isinstance(test, ChanceTest) and not self._learned(test, table, columns):
            why = "no compared row is better than chance, so their differences mean nothing"
            return open_claim(claim, "chance", why)
        return None

    def _learned(self, test: Test, table: TableResults, columns: Sequence[str]) -> bool:
        chance, mean = table.chance(columns), _mean(columns)
        if chance is None:
            return True
        own = [table.grid.estimate({row: 1.0}, mean, self._lent(table, mean, False)) for row in rows_of(test)]
        return any(estimate is not None and estimate.lower > chance for estimate in own)

    def _lent(self, table: TableResults, columns: Mapping[str, float], comparison: bool) -> Noise | None:
        """Borrow the noise between seeds, for a table of one seed, from another table of the scale with the same metrics."""
        if table.ablation.seeds > 1:
            return None
        wanted = {(c.job, c.metric): columns[c.key] for c in table.ablation.columns if c.key in columns}
        lenders = []
        for other in self.tables.values():
            known = {(c.job, c.metric): c.key for c in other.ablation.columns}
            if other.ablation.seeds > 1 and set(wanted) <= set(known):
                noise = other.grid.noise({known[what]: weight for what, weight in wanted.items()}, comparison)
                lenders += [noise] if noise else []
        return max(lenders, key=lambda noise: noise.freedom, default=None)

    def _number(
        self,
        label: str,
        table: TableResults,
        rows: Mapping[str, float],
        columns: Mapping[str, float],
        less: float = 0.0,
    ) -> list[Number]:
        """The estimate of one contrast less a constant, as a list of one; empty where there is none."""
        comparison = len(rows) > 1
        lent = self._lent(table, columns, comparison)
        found: Estimate | None = table.grid.estimate(rows, columns, lent)
        if found is None:
            return []
        paper = table.reported(rows, columns)
        return [
            Number(
                label,
                found.value - less,
                found.lower - less,
                found.upper - less,
                found.seeds,
                found.images,
                found.seeds < 2 and lent is not None,
                None if paper is None else paper - less,
            )
        ]

    def _numbers(self, test: Test, table: TableResults) -> list[Number]:
        """Compute the contrasts of a test; the claim says that they are above 0 (near 0 for ``close``)."""
        columns = table.columns(test)
        mean, names = _mean(columns), row_names(table.ablation)
        headings = column_names(table.ablation)
        if isinstance(test, GreaterTest):
            rows, label = {test.row: 1.0, test.than: -1.0}, f"{names[test.row]} − {names[test.than]}"
            if not test.each:
                return self._number(label, table, rows, mean)
            return [
                n for c in columns for n in self._number(f"{label} in {headings[c]}", table, rows, {c: 1.0})
            ]
        if isinstance(test, BestTest):
            others = [row for row in test.of or [r.key for r in table.ablation.rows] if row != test.row]
            pairs = [(f"{names[test.row]} − {names[row]}", {test.row: 1.0, row: -1.0}) for row in others]
            return [n for label, rows in pairs for n in self._number(label, table, rows, mean)]
        if isinstance(test, CloseTest):
            pairs = [(f"{names[row]} − {names[test.to]}", {row: 1.0, test.to: -1.0}) for row in test.rows]
            return [n for label, rows in pairs for n in self._number(label, table, rows, mean)]
        if isinstance(test, GainTest):
            weights: dict[str, float] = {}
            for row, weight in zip((*test.step, *test.beyond), (-1.0, 1.0, 1.0, -1.0), strict=True):
                weights[row] = weights.get(row, 0.0) + weight
            start, end, first, second = (names[row] for row in (*test.step, *test.beyond))
            label = f"({end} − {start}) − ({second} − {first})"
            return self._number(label, table, weights, mean)
        if isinstance(test, TrendTest):
            of = {row.key: row.x or 0.0 for row in table.ablation.rows}
            x = np.array([of[row] for row in test.rows])
            slope = (x - x.mean()) / ((x - x.mean()) ** 2).sum() * PER_STEP
            sign = 1.0 if test.direction == "rises" else -1.0
            label = ("rise" if test.direction == "rises" else "fall") + " for each ten percent"
            return self._number(
                label, table, dict(zip(test.rows, (sign * slope).tolist(), strict=True)), mean
            )
        if isinstance(test, ChanceTest):
            chance = table.chance(columns)
            return (
                []
                if chance is None
                else self._number(f"{names[test.row]} − chance", table, {test.row: 1.0}, mean, chance)
            )
        assert isinstance(test, ReportedTest)
        quoted = table.reported({test.reported: 1.0}, mean)
        if quoted is None:
            return []
        other = next(row.label for row in table.paper.rows if row.key == test.reported) if table.paper else ""
        label = f"{names[test.row]} − {other} as reported"
        return self._number(label, table, {test.row: 1.0}, mean, quoted + test.margin)

    def _outcome(self, claim: ClaimSpec, test: OutcomeTest, table: TableResults) -> Finding:
        ended = table.outcomes(test.row)
        if "missing" in ended:
            return open_claim(claim, "missing", f"results are missing: {row_names(table.ablation)[test.row]}")
        count = ended.count(test.status)
        why = f"{count} of {len(ended)} trainings {test.status}"
        if 0 < count < len(ended):
            return open_claim(claim, "mixed", why)
        return Finding(claim, "supported" if count else "refuted", why)


def _mean(columns: Sequence[str]) -> dict[str, float]:
    return dict.fromkeys(columns, 1 / len(columns)) if columns else {}


def _decide(test: Test, numbers: Sequence[Number]) -> tuple[Verdict, str]:
    """Decide by the intervals: all must agree to support; one that clearly contradicts refutes."""
    if isinstance(test, CloseTest):
        if all(-test.within < number.lower and number.upper < test.within for number in numbers):
            return "supported", f"every interval is within {test.within:g} points"
        if any(number.lower > test.within or number.upper < -test.within for number in numbers):
            return "refuted", f"an interval is beyond {test.within:g} points"
        return "cannot tell", f"the intervals reach beyond {test.within:g} points"
    if all(number.lower > 0 for number in numbers):
        return "supported", "the interval is above 0" if len(numbers) == 1 else "every interval is above 0"
    below = [number for number in numbers if number.upper < 0]
    # With many intervals, one is below 0 by chance: correct for their number.
    if below and (len(numbers) == 1 or any(_far_below(number, len(numbers)) for number in below)):
        return "refuted", "the interval is below 0" if len(numbers) == 1 else f"{below[0].label} is below 0"
    return "cannot tell", "the interval includes 0" if len(numbers) == 1 else "not every interval is above 0"


def _far_below(number: Number, count: int) -> bool:
    """Check whether an interval widened for ``count`` comparisons (assuming a normal distribution) is still below 0."""
    from statistics import NormalDist

    normal = NormalDist()
    edge = (1 - LEVEL) / 2
    wider = normal.inv_cdf(1 - edge / count) / normal.inv_cdf(1 - edge)
    return number.value + (number.upper - number.value) * wider < 0
