"""Measure how much the results of several sites differ for the same spec, made on different machines."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mamo.files.stored import read_record_file
from mamo.packs.sites import record_paths, site_of


@dataclass(frozen=True)
class Spread:
    """One metric of one run at every site that made it.

    Attributes:
        run: ``kind/run``.
        values: site -> value; the site that pages show comes first.
    """

    run: str
    group: str
    metric: str
    values: dict[str, float]

    @property
    def width(self) -> float:
        """Range from the least to the greatest value."""
        return max(self.values.values()) - min(self.values.values())

    @property
    def variance(self) -> float:
        """Sample variance between sites."""
        return statistics.variance(self.values.values())


@dataclass(frozen=True)
class Summary:
    """One metric over all runs of a job that several sites made.

    Attributes:
        runs: number of runs.
        widest: the greatest distance between two sites, and the run where it is.
        deviation: the standard deviation from site to site, pooled over the runs.
    """

    group: str
    metric: str
    runs: int
    widest: float
    where: str
    deviation: float


def spreads(results: Path) -> list[Spread]:
    """List every metric of every run that more than one site has finished, without training losses and chance.

    Args:
        results: one scale's results.
    """
    by_run: dict[str, dict[str, Mapping[str, float]]] = {}
    groups: dict[str, str] = {}
    for path in record_paths(results):
        record = read_record_file(path)
        if not record.converged:
            continue
        key = f"{path.parent.parent.name}/{path.parent.name}"
        by_run.setdefault(key, {})[site_of(path.parent, record)] = record.metrics
        groups[key] = str(record.spec.get("task") or record.kind or key.split("/")[0])
    return [
        Spread(key, groups[key], metric, values)
        for key, sites in by_run.items()
        if len(sites) > 1
        for metric, values in _shared(sites)
    ]


def summarise(spreads: Sequence[Spread]) -> list[Summary]:
    """Summarise each metric of each task, in the order in which they occur."""
    lines: dict[tuple[str, str], list[Spread]] = {}
    for spread in spreads:
        lines.setdefault((spread.group, spread.metric), []).append(spread)
    summaries = []
    for (group, metric), group_spreads in lines.items():
        widest = max(group_spreads, key=lambda spread: spread.width)
        freedom = sum(len(spread.values) - 1 for spread in group_spreads)
        pooled = sum(spread.variance * (len(spread.values) - 1) for spread in group_spreads) / freedom
        summaries.append(Summary(group, metric, len(group_spreads), widest.width, widest.run, pooled**0.5))
    return summaries


def _shared(sites: Mapping[str, Mapping[str, float]]) -> Iterator[tuple[str, dict[str, float]]]:
    first = next(iter(sites.values()))
    for metric in first:
        if not metric.startswith(("train/", "chance/")) and all(
            metric in values for values in sites.values()
        ):
            yield metric, {site: float(values[metric]) for site, values in sites.items()}
