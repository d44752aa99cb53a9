"""The article's list of runs, to which every number leads, with what they cost and which code made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mamo.files.record import Record
from mamo.reporting.provenance import check_lines, facts, read_run
from mamo.specs.plan import Plan

KINDS = {
    "data": "data",
    "weights": "starting weights",
    "pretrain": "pre-training",
    "finetune": "downstream jobs",
}


@dataclass(frozen=True)
class Runs:
    """The runs of a plan with their records, numbered in planning order.

    Attributes:
        numbers: run key -> its number in the list, from 1.
        records: run key -> its record; None where it has none.
    """

    plan: Plan
    numbers: Mapping[str, int]
    records: Mapping[str, Record | None]

    @classmethod
    def read(cls, plan: Plan, results: Path) -> Runs:
        """Read the records that exist of everything that the plan's tables and figures need."""
        keys = [
            key for kind in KINDS for key in plan.runs if plan.runs[key].kind == kind and key in plan.whole
        ]
        return cls(
            plan,
            {key: number for number, key in enumerate(keys, 1)},
            {key: read_run(results, key) for key in keys},
        )

    @property
    def missing(self) -> list[str]:
        """Keys of the runs without a record."""
        return [key for key, record in self.records.items() if record is None]

    def entries(
        self, shown: Mapping[str, Iterable[str]], seeds: Iterable[tuple[str, ...]]
    ) -> list[dict[str, Any]]:
        """Return one entry for every run.

        Args:
            shown: run key -> tables and figures that show its numbers.
            seeds: groups of runs that differ only by their seed.
        """
        siblings: dict[str, dict[str, None]] = {}
        for group in seeds:
            for key in group:
                siblings.setdefault(key, {}).update(dict.fromkeys(other for other in group if other != key))
        return [
            self._entry(key, list(dict.fromkeys(shown.get(key, ()))), list(siblings.get(key, ())))
            for key in self.numbers
        ]

    def cost(self) -> list[dict[str, Any]]:
        """Sum up each kind and all: runs done and planned, wall-clock and CPU seconds (None: none recorded)."""
        lines = []
        for name, kinds in [*((name, (kind,)) for kind, name in KINDS.items()), ("all", tuple(KINDS))]:
            records = [self.records[key] for key in self.numbers if self.plan.runs[key].kind in kinds]
            finished = [facts(record) for record in records if record is not None]
            if records:
                lines.append(
                    {"kind": name, "planned": len(records), "done": len(finished)}
                    | {word: _total(finished, word) for word in ("wall-clock", "processor time")}
                )
        return lines

    def circumstances(self) -> dict[str, list[list[Any]]]:
        """Return the commits, digests of the code, machines and packages that made the runs, each with the number of runs."""
        provenances = [record.provenance for record in self.records.values() if record is not None]
        counted = {
            "code": Counter(str(provenance.code or "not recorded") for provenance in provenances),
            "code digest": Counter(
                str(provenance.code_digest or "not recorded") for provenance in provenances
            ),
            "machine": Counter(_words(provenance.machine or None) for provenance in provenances),
            "packages": Counter(_words(provenance.versions or None) for provenance in provenances),
        }
        return {
            name: [[value, count] for value, count in provenance.most_common()]
            for name, provenance in counted.items()
            if provenance
        }

    def started(self) -> list[str]:
        """Start of the first and the last run, in ISO 8601; empty if no record has one."""
        times = sorted(
            record.provenance.started
            for record in self.records.values()
            if record is not None and record.provenance.started
        )
        return [times[0], times[-1]] if times else []

    def _entry(self, key: str, shown: list[str], siblings: list[str]) -> dict[str, Any]:
        run, record = self.plan.runs[key], self.records[key]
        run_facts = {
            name: value
            for name, value in (facts(record) if record else {}).items()
            if value not in (None, "")
        }
        lines = [
            f"{name} {_words(value)}"
            for name, value in run_facts.items()
            if name not in ("machine", "packages")
        ]
        if run.spec.get("seed") is not None:
            lines.insert(0, f"seed {run.spec['seed']}")
        warnings = [line for line in check_lines(record) if "WARNING" in line] if record else []
        return {
            "number": self.numbers[key],
            "key": key,
            "done": record is not None,
            "facts": lines,
            "warnings": warnings,
            "inputs": [
                {"role": role, "number": self.numbers.get(other), "key": other}
                for role, other in run.inputs.items()
            ],
            "siblings": [self.numbers[other] for other in siblings if other in self.numbers],
            "shown": shown,
        }


def _total(rows: Iterable[Mapping[str, Any]], name: str) -> float | None:
    seconds = [float(str(row[name]).split()[0]) for row in rows if row.get(name) is not None]
    return sum(seconds) if seconds else None


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(part)}" for key, part in value.items() if part not in (None, ""))
    if isinstance(value, list | tuple):
        return "; ".join(_words(part) for part in value)
    return "not recorded" if value in (None, "") else str(value)
