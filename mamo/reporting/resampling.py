"""Estimate how far off a result may be: intervals over test images and training seeds, by resampling.

Two things vary when an experiment is repeated: the test images, and the seed of training. Images are resampled with
replacement, the same ones for every row and seed (a pair is compared on the same items). Three seeds cannot be resampled in
that way: the interval would stay between the least and the greatest of the three, and cover the truth three times in four. So
the seeds' part is drawn from Student's distribution, with the variance between seeds estimated over all rows of the table (an
analysis of variance, rows by seeds); the part that the items explain is subtracted, so that it does not count twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from mamo.reporting.items import Contributions

DRAWS = 4000
LEVEL = 0.95
_AT_ONCE = 8_000_000  # weights drawn at a time: 64 MB


class Estimate(NamedTuple):
    """A value with its interval.

    Attributes:
        value: in percentage points.
        lower, upper: of the 95 % interval; equal to the value where nothing could be resampled.
        p: two-sided probability of a value at least as far from 0 if the truth were 0.
        seeds: number of seeds behind it. With one, the interval says nothing about training again.
        images: number of resampled test images; 0 if none.
        noise: standard deviation from seed to seed of one row (of one row against the table, in a comparison), beyond what
            the test items explain; None with one seed.
    """

    value: float
    lower: float
    upper: float
    p: float
    seeds: int
    images: int
    noise: float | None

    @property
    def half(self) -> float:
        """Half the interval's width."""
        return (self.upper - self.lower) / 2

    @property
    def apart(self) -> bool:
        """True if the interval excludes 0."""
        return self.resampled and (self.lower > 0 or self.upper < 0)

    @property
    def resampled(self) -> bool:
        """True if there is an interval, from results per item or several seeds."""
        return self.images > 0 or self.noise is not None


class Noise(NamedTuple):
    """Variance between seeds of one row's value, and the degrees of freedom of its estimate."""

    variance: float
    freedom: float


@dataclass
class Grid:
    """The results of a table: rows by seeds by columns.

    Attributes:
        rows, columns: keys of the rows and columns.
        means: (R, S, K) values in percent; NaN where a run has none.
        runs: (R, S) names of the trainings; rows that share theirs are counted once in the noise.
        draws: (B, R, S, K) deviations of the values on resampled images; 0 where a run has no results per item.
        images: (K,) number of images resampled.
    """

    rows: Sequence[str]
    columns: Sequence[str]
    means: np.ndarray
    runs: Sequence[Sequence[str]]
    draws: np.ndarray = field(init=False)
    images: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.draws = np.zeros((DRAWS, *self.means.shape))
        self.images = np.zeros(len(self.columns), dtype=int)

    @property
    def seeds(self) -> int:
        """Runs per row."""
        return int(self.means.shape[1])

    def resample(self, column: str, contributions: Mapping[tuple[int, int], Contributions]) -> None:
        """Add the results per item of a column: (row, seed) -> contributions, all of the same images.

        Raises:
            ValueError: two runs were tested on different items.
        """
        if not contributions:
            return
        k = self.columns.index(column)
        identities = {contribution.images for contribution in contributions.values()}
        if len(identities) > 1:
            raise ValueError(f"column '{column}': its runs were not tested on the same items")
        places = list(contributions)
        values_CP = np.stack([contributions[place].values for place in places], axis=1)
        deviations = resampled_means(values_CP - values_CP.mean(0), identities.pop())
        for i, (row, seed) in enumerate(places):
            self.draws[:, row, seed, k] = deviations[:, i]
        self.images[k] = len(values_CP)

    def estimate(
        self, rows: Mapping[str, float], columns: Mapping[str, float], borrowed: Noise | None = None
    ) -> Estimate | None:
        """Estimate a weighted sum of rows of a weighted mean of columns, over the seeds that all of these rows have.

        Args:
            rows: row -> weight, such as ``{"full": 1, "itc_itm": -1}`` for a difference. Weights of several rows sum to 0.
            columns: column -> weight.
            borrowed: noise between seeds from another table, used if this one has one seed.

        Returns:
            None where no seed has all values.
        """
        u_R, v_K = self._weights(self.rows, rows), self._weights(self.columns, columns)
        used_R, used_K = u_R != 0, v_K != 0
        m_RS = self.means[:, :, used_K] @ v_K[used_K]
        seeds_S = np.isfinite(m_RS[used_R]).all(0)
        if not seeds_S.any():
            return None
        count = int(seeds_S.sum())
        value = float(u_R[used_R] @ m_RS[used_R][:, seeds_S].mean(1))
        d_BRS = self.draws[..., used_K] @ v_K[used_K]
        samples = value + d_BRS[:, used_R][:, :, seeds_S].mean(2) @ u_R[used_R]
        noise = self._noise(m_RS, d_BRS, used_R, seeds_S) if count > 1 else borrowed
        if noise is not None:
            spread = (noise.variance * (u_R**2).sum() / count) ** 0.5
            samples += np.random.default_rng(0).standard_t(noise.freedom, len(samples)) * spread
        edge = (1 - LEVEL) / 2
        lower, upper = np.quantile(samples, [edge, 1 - edge])
        beyond = min((samples <= 0).sum(), (samples >= 0).sum())
        estimate = Estimate(
            value,
            float(lower),
            float(upper),
            min(1.0, 2 * float(beyond + 1) / (len(samples) + 1)),
            count,
            int(self.images[used_K].sum()),
            noise.variance**0.5 if noise else None,
        )
        return estimate if estimate.resampled else estimate._replace(p=1.0)

    def has(self, row: str, columns: Iterable[str]) -> bool:
        """Check that a row has a value in each of the columns for at least one seed."""
        places = [self.columns.index(column) for column in columns]
        return bool(np.isfinite(self.means[self.rows.index(row)][:, places]).all(1).any())

    def rows_resampled(
        self, rows: Sequence[str], columns: Mapping[str, float]
    ) -> tuple[np.ndarray, np.ndarray, int]:
        """Compute a weighted mean of columns for several rows at once, and its values in resampled repetitions.

        A seed's effect shared by all rows is left out: it changes no comparison of rows.

        Args:
            rows: each with a value for one seed at least.

        Returns:
            means (R,) over each row's seeds, resampled means (B, R), and the least number of seeds of a row.
        """
        v_K = self._weights(self.columns, columns)
        used_K = v_K != 0
        places = [self.rows.index(row) for row in rows]
        m_RS = self.means[:, :, used_K] @ v_K[used_K]
        d_BRS = self.draws[..., used_K] @ v_K[used_K]
        there_RS = np.isfinite(m_RS[places])
        counts_R = there_RS.sum(1)
        means_R = np.where(there_RS, m_RS[places], 0).sum(1) / counts_R
        samples_BR = means_R + np.where(there_RS, d_BRS[:, places], 0).sum(2) / counts_R
        used_R = np.isin(np.arange(len(self.rows)), places)
        seeds_S = there_RS.all(0)
        if seeds_S.sum() > 1:
            noise = self._noise(m_RS, d_BRS, used_R, seeds_S)
            generator = np.random.default_rng(0)
            scale_B = np.sqrt(noise.freedom / generator.chisquare(noise.freedom, len(samples_BR)))
            normal_BR = generator.standard_normal(samples_BR.shape)
            samples_BR += normal_BR * scale_B[:, None] * np.sqrt(noise.variance / counts_R)
        return means_R, samples_BR, int(counts_R.min())

    def noise(self, columns: Mapping[str, float], comparison: bool) -> Noise | None:
        """Noise between seeds of a weighted mean of columns, for other tables; None with one seed or one row."""
        v_K = self._weights(self.columns, columns)
        used_K = v_K != 0
        m_RS = self.means[:, :, used_K] @ v_K[used_K]
        used_R = np.isfinite(m_RS).all(1)
        if self.seeds < 2 or used_R.sum() < 2:
            return None
        if not comparison:
            used_R &= np.arange(len(used_R)) == used_R.argmax()
        d_BRS = self.draws[..., used_K] @ v_K[used_K]
        return self._noise(m_RS, d_BRS, used_R, np.ones(self.seeds, dtype=bool))

    @staticmethod
    def _weights(keys: Sequence[str], given: Mapping[str, float]) -> np.ndarray:
        unknown = [key for key in given if key not in keys]
        if unknown:
            raise KeyError(f"there is no {', '.join(unknown)} (there are {', '.join(keys)})")
        return np.array([given.get(key, 0.0) for key in keys])

    def _noise(self, m_RS: np.ndarray, d_BRS: np.ndarray, used_R: np.ndarray, seeds_S: np.ndarray) -> Noise:
        """Estimate the variance between seeds of a comparison of rows that share seeds, or of a single row."""
        complete = np.isfinite(m_RS).all(1)
        first: dict[tuple[str, ...], int] = {}
        for i in np.flatnonzero(complete):
            first.setdefault(tuple(self.runs[int(i)]), int(i))
        pool, seeds = np.array(sorted(first.values()), dtype=int), np.arange(m_RS.shape[1])
        if len(pool) < 2:
            pool, seeds = np.flatnonzero(used_R), np.flatnonzero(seeds_S)
        m, d = m_RS[pool][:, seeds], d_BRS[:, pool][:, :, seeds]
        between_m, residual_m = _mean_squares(m)
        between_d, residual_d = (part.mean() for part in _mean_squares(d))
        rows, degrees = len(pool), len(seeds) - 1
        if used_R.sum() > 1:  # a seed's effect shared by all rows cancels
            return Noise(max(0.0, float(residual_m - residual_d)), max(1, (rows - 1) * degrees))
        shared, own = between_m / rows, (rows - 1) / rows * residual_m
        variance = shared + own
        # Satterthwaite: the degrees of freedom of a sum of two estimated variances.
        spread = shared**2 / degrees + (own**2 / ((rows - 1) * degrees) if rows > 1 else 0.0)
        freedom = variance**2 / spread if spread > 0 else float(degrees)
        explained = between_d / rows + (rows - 1) / rows * residual_d
        return Noise(max(0.0, float(variance - explained)), float(freedom))


def _mean_squares(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares between seeds and of the residual, for (..., R, S)."""
    rows, seeds = values.shape[-2:]
    grand = values.mean((-2, -1), keepdims=True)
    of_row, of_seed = values.mean(-1, keepdims=True), values.mean(-2, keepdims=True)
    between = rows * ((of_seed - grand) ** 2).sum((-2, -1)) / (seeds - 1)
    residual = ((values - of_row - of_seed + grand) ** 2).sum((-2, -1)) / max(1, (rows - 1) * (seeds - 1))
    return between, residual


def resampled_means(values_CP: np.ndarray, identity: bytes, draws: int = DRAWS) -> np.ndarray:
    """Compute means of columns over images drawn with replacement: (draws, P).

    The same images give the same draws, so results on the same items are resampled together in every table.
    """
    count = len(values_CP)
    seed = int.from_bytes(hashlib.sha256(identity).digest()[:8], "big")
    generator = np.random.default_rng(seed)
    parts = []
    for start in range(0, draws, step := max(1, _AT_ONCE // count)):
        weights = generator.multinomial(count, np.full(count, 1 / count), min(step, draws - start))
        parts.append(weights @ values_CP / count)
    return np.concatenate(parts)
