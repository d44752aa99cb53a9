"""Agreement with the paper's order of rows, and the smallest difference that intervals can see."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from mamo.reporting.agreement import agreement, agreement_text, tau_b
from mamo.reporting.items import Contributions
from mamo.reporting.paper import PaperTable
from mamo.reporting.power import power_words, visible
from mamo.reporting.resampling import Grid

ROWS = ["a", "b", "c", "d"]


def paper(**columns: list[float | None]) -> PaperTable:
    keys = list(columns)
    rows = [
        {"key": row, "label": row, "values": {key: columns[key][i] for key in keys}}
        for i, row in enumerate(ROWS)
    ]
    return PaperTable.model_validate(
        {"table": "t", "caption": "c", "columns": [{"key": k, "label": k} for k in keys], "rows": rows}
    )


def grid(values_RS: list[list[float]], columns: int = 1) -> Grid:
    means = np.repeat(np.array(values_RS, dtype=float)[:, :, None], columns, axis=2)
    names = [f"x{k}" for k in range(columns)]
    return Grid(ROWS, names, means, [[f"{row}{s}" for s in range(means.shape[1])] for row in ROWS])


def test_tau_is_scipys_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours, theirs = rng.integers(0, 4, 7).astype(float), rng.integers(0, 4, 7).astype(float)
        assert tau_b(ours[None], theirs)[0] == pytest.approx(kendalltau(ours, theirs, variant="b").statistic)
    assert np.isnan(tau_b(np.ones((1, 3)), np.arange(3.0))[0])


def test_the_same_order_the_reverse_and_one_exchange() -> None:
    """Of six pairs one stands the other way round: (5 - 1) / 6."""
    theirs = paper(x0=[1.0, 2.0, 3.0, 4.0])
    (same,) = agreement(grid([[10], [20], [30], [40]]), theirs)
    assert (same.column, same.rows, same.tau, same.lower, same.upper) == ("x0", 4, 1, 1, 1)
    assert agreement(grid([[40], [30], [20], [10]]), theirs)[0].tau == -1
    assert agreement(grid([[20], [10], [30], [40]]), theirs)[0].tau == pytest.approx(4 / 6)


def test_noise_between_seeds_widens_the_interval() -> None:
    """Rows 1 apart: the order is sure where seeds differ by 0.01, and open where they differ by several points."""
    theirs = paper(x0=[1.0, 2.0, 3.0, 4.0])
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(4, 5))
    level = np.arange(4.0)[:, None]
    sure = agreement(grid((level + 0.01 * noise).tolist()), theirs)[0]
    openly = agreement(grid((level + 5 * noise).tolist()), theirs)[0]
    assert (sure.lower, sure.upper, sure.seeds) == (1, 1, 5)
    assert openly.lower < 0 < openly.upper and openly.lower <= openly.tau <= openly.upper
    # What all rows share of a seed changes no order.
    shared = grid((level + 0.01 * noise + 50 * rng.normal(size=(1, 5))).tolist())
    assert agreement(shared, theirs)[0].lower == 1


def test_test_images_widen_it_too_and_are_the_same_for_all_rows() -> None:
    theirs = paper(x0=[1.0, 2.0, 3.0, 4.0])
    items = np.random.default_rng(2).normal(50, 30, 40)
    together, alone = grid([[0]] * 4), grid([[0]] * 4)
    rng = np.random.default_rng(3)
    for made, values in (
        (together, [items + i for i in range(4)]),
        (alone, [rng.permutation(items) + i for i in range(4)]),
    ):
        made.means = np.array([[[v.mean()]] for v in values])
        made.resample("x0", {(i, 0): Contributions(v, b"same") for i, v in enumerate(values)})
    assert agreement(together, theirs)[0].lower == 1, "each item says the same of every row"
    assert agreement(alone, theirs)[0].lower < 0.5


def test_only_rows_that_both_have_count() -> None:
    theirs = paper(x0=[1.0, 2.0, 3.0, None], x1=[3.0, 2.0, 1.0, 4.0])
    lines = {line.column: line for line in agreement(grid([[1], [2], [3], [np.nan]], 2), theirs)}
    assert lines["x0"].tau == 1 and lines["x1"].tau == -1 and lines["x0"].rows == 3
    assert lines[None].tau is None, "the paper's means are all alike, so they have no order"
    few = agreement(grid([[1], [2], [np.nan], [np.nan]]), paper(x0=[1.0, 2.0, 3.0, 4.0]))
    assert few[0].tau is None and "too few" in agreement_text(few, {})
    text = agreement_text(list(lines.values()), {"x0": "TR", "x1": "IR"})
    assert "+1.00 [+1.00, +1.00] in TR (3 rows); IR −1.00" in text


def test_the_smallest_difference_that_can_be_seen() -> None:
    """A standard error of 1 gives a half-width of 1.96, and 2.8 points are seen in 80 of 100 repetitions."""
    assert visible([1.96, 0.5]) == pytest.approx(2.80, abs=0.005)
    assert visible([]) is None
    rng = np.random.default_rng(0)
    seen = (np.abs(rng.normal(2.80, 1, 20_000)) > 1.96).mean()
    assert seen == pytest.approx(0.8, abs=0.01)
    claims = [
        {"sees": sees, "test": {"within": None}, "numbers": [{"paper": gap}]}
        for sees, gap in ((2.0, 0.4), (4.0, -5.0), (3.0, 1.0))
    ]
    text = power_words(claims)
    assert "the 3 claims" in text and "3.0 percentage points" in text and "(median; 2.0 to 4.0)" in text
    assert "For 2 of the 3" in text and power_words([]) == ""
