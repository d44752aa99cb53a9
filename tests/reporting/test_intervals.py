"""Intervals and comparisons: cases worked out by hand, and coverage of a known truth in simulated experiments."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from mamo.data.store.writer import Writer
from mamo.reporting.collect import collect
from mamo.reporting.comparisons import ItemsError
from mamo.reporting.items import Contributions, contributions
from mamo.reporting.resampling import DRAWS, Grid, Noise, resampled_means
from mamo.reporting.tables import alike_rows
from mamo.specs.plan import Plan, make_plan

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"


def test_captions_of_an_image_are_resampled_together() -> None:
    """Two images; the first has three captions (two found at rank 1), the second one (not found): 2 of 4."""
    items = {
        "direction": ["tr", "tr", "ir", "ir", "ir", "ir"],
        "index": [0, 1, 0, 1, 2, 3],
        "rank": [1, 7, 1, 1, 5, 2],
    }
    images = {"test": [9, 9, 9, 4]}
    actual = contributions("retrieval", "ir_r1", items, images, {})
    assert actual is not None
    # Image 4: 50 + (0 - 50 * 1) * 2 / 4 = 25. Image 9: 50 + (200 - 50 * 3) * 2 / 4 = 75.
    assert actual.values.tolist() == [25.0, 75.0]
    text = contributions("retrieval", "tr_r1", items, images, {})
    assert text is not None and text.values.tolist() == [0.0, 100.0], "image 9 asks first, and is found"
    assert text.images == actual.images
    mean = contributions("retrieval", "mean_recall", items, images, {})
    # R@1, 5, 10: text retrieval 50, 50, 100; image retrieval 50, 100, 100.
    assert mean is not None and mean.values.mean() == pytest.approx(450 / 6)
    assert contributions("retrieval", "itc_ir_r1", items, images, {}) is None, (
        "ranks by similarity alone were not kept"
    )
    alone = contributions("retrieval", "itc_ir_r1", items | {"itc_rank": [1, 7, 2, 1, 5, 2]}, images, {})
    assert alone is not None and alone.values.mean() == pytest.approx(25.0)


def test_each_metric_reads_its_own_items() -> None:
    vqa = {"question_id": [1, 2, 3], "score": [100.0, 0.0, 30.0], "type": ["what", "is the", "what"]}
    overall, what = (contributions("vqa", name, vqa, {}, {}) for name in ("accuracy", "accuracy/what"))
    assert overall is not None and what is not None
    assert overall.values.tolist() == [100.0, 0.0, 30.0], "without images each question counts as one"
    assert what.values.mean() == pytest.approx(65.0)
    nlvr2 = {"identifier": ["a", "b", "c"], "split": ["dev", "dev", "test"], "correct": [True, False, True]}
    dev = contributions("nlvr2", "dev_accuracy", nlvr2, {"dev": [5, 5]}, {})
    assert dev is not None and dev.values.tolist() == [50.0], "two sentences about one pair are one unit"
    assert all(contributions("nlvr2", name, nlvr2, {}, {}) is None for name in ("train/loss", "val_accuracy"))


def test_the_record_says_which_split_its_questions_are_from() -> None:
    """Val and test have as many questions; those of val show one image, those of test two."""
    items = {"question_id": [1, 2], "score": [100.0, 0.0], "type": ["what", "what"]}
    images = {"val": [3, 3], "test": [1, 2]}
    on_val = contributions("vqa", "accuracy", items, images, {"evaluated_on_val": 1.0})
    on_test = contributions("vqa", "accuracy", items, images, {"evaluated_on_val": 0.0})
    assert on_val is not None and on_val.values.tolist() == [50.0]
    assert on_test is not None and on_test.values.tolist() == [100.0, 0.0]
    with pytest.raises(KeyError, match="no job is registered for the task 'singing'"):
        contributions("singing", "accuracy", items, images, {})


def grid(values_RSC: np.ndarray) -> Grid:
    rows, seeds, _ = values_RSC.shape
    names = [f"r{i}" for i in range(rows)]
    made = Grid(
        names, ["x"], values_RSC.mean(2)[..., None], [[f"{n}-{s}" for s in range(seeds)] for n in names]
    )
    made.resample(
        "x", {(r, s): Contributions(values_RSC[r, s], b"same") for r in range(rows) for s in range(seeds)}
    )
    return made


def test_a_difference_that_every_item_shows_has_no_width() -> None:
    """One seed; the second row is 3 points better on each item, however much the items differ among themselves."""
    items = np.random.default_rng(1).normal(50, 30, 80)
    made = grid(np.stack([items, items + 3])[:, None])
    apart = made.estimate({"r1": 1, "r0": -1}, {"x": 1})
    alone = made.estimate({"r1": 1}, {"x": 1})
    assert apart is not None and alone is not None
    assert apart[:3] == pytest.approx((3, 3, 3)) and apart.apart and apart.p < 0.001
    # The mean alone is as uncertain as the mean of 80 items: 1.96 standard errors.
    assert alone.half == pytest.approx(1.96 * items.std() / 80**0.5, rel=0.08)
    assert (alone.seeds, alone.images, alone.noise) == (1, 80, None)


def test_three_seeds_without_items_give_students_interval() -> None:
    """Values 1, 2, 3: mean 2, standard error 1/sqrt(3), 4.303 of them at two degrees of freedom."""
    made = Grid(["a"], ["x"], np.array([[[1.0], [2.0], [3.0]]]), [["p", "q", "r"]])
    actual = made.estimate({"a": 1}, {"x": 1})
    assert actual is not None and actual.noise == pytest.approx(1.0) and actual.images == 0
    assert (actual.value, actual.half) == (2.0, pytest.approx(4.303 / 3**0.5, rel=0.1))


def test_a_comparison_takes_out_what_rows_share_of_a_seed() -> None:
    """Seeds move both rows by 10 points; row b is 1 above a in each, so nothing is left to vary."""
    made = Grid(
        ["a", "b"],
        ["x"],
        np.array([[[0.0], [10.0], [20.0]], [[1.0], [11.0], [21.0]]]),
        [["p"] * 3, ["q"] * 3],
    )
    actual = made.estimate({"b": 1, "a": -1}, {"x": 1})
    assert actual is not None and actual[:3] == pytest.approx((1, 1, 1))


def test_seeds_that_only_one_row_has_stay_out_of_a_comparison() -> None:
    means = np.array([[[1.0], [5.0]], [[2.0], [np.nan]]])
    made = Grid(["a", "b"], ["x"], means, [["p", "q"], ["r", "s"]])
    both, alone = made.estimate({"b": 1, "a": -1}, {"x": 1}), made.estimate({"a": 1}, {"x": 1})
    assert both is not None and (both.value, both.seeds) == (1.0, 1)
    assert alone is not None and (alone.value, alone.seeds) == (3.0, 2)
    made.means[1] = np.nan
    assert made.estimate({"b": 1}, {"x": 1}) is None


def test_rows_that_share_their_run_count_once_in_the_noise() -> None:
    values = np.random.default_rng(0).normal(0, 1, (2, 3, 1))
    once = Grid(["a", "b"], ["x"], values, [["p"] * 3, ["q"] * 3])
    twice = Grid(["a", "b", "c"], ["x"], values[[0, 1, 1]], [["p"] * 3, ["q"] * 3, ["q"] * 3])
    assert once.noise({"x": 1}, comparison=True) == twice.noise({"x": 1}, comparison=True)


def test_noise_can_be_lent_to_a_table_with_one_seed() -> None:
    made = Grid(["a", "b"], ["x"], np.array([[[1.0]], [[3.0]]]), [["p"], ["q"]])
    plain = made.estimate({"b": 1, "a": -1}, {"x": 1})
    lent = made.estimate({"b": 1, "a": -1}, {"x": 1}, Noise(1.0, 1000.0))
    assert plain is not None and plain[:3] == (2.0, 2.0, 2.0)
    assert lent is not None and lent.half == pytest.approx(1.96 * 2**0.5, rel=0.06), (
        "both rows carry the noise"
    )


def test_columns_on_the_same_items_are_resampled_together() -> None:
    """The mean of a column and its mirror image does not vary, whichever items are drawn."""
    values = np.random.default_rng(2).normal(0, 20, 60)
    made = Grid(["a"], ["x", "y"], np.array([[[values.mean(), 100 - values.mean()]]]), [["p"]])
    made.resample("x", {(0, 0): Contributions(values, b"same")})
    made.resample("y", {(0, 0): Contributions(100 - values, b"same")})
    actual = made.estimate({"a": 1}, {"x": 0.5, "y": 0.5})
    assert actual is not None and actual[:3] == pytest.approx((50, 50, 50))
    with pytest.raises(ValueError, match="not tested on the same items"):
        made.resample("x", {(0, 0): Contributions(values, b"same"), (0, 1): Contributions(values, b"other")})


def test_draws_are_the_same_each_time_and_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(3).normal(0, 1, (50, 2))
    whole = resampled_means(values, b"k")
    assert whole.shape == (DRAWS, 2) and np.array_equal(whole, resampled_means(values, b"k"))
    assert not np.array_equal(whole, resampled_means(values, b"l"))
    monkeypatch.setattr("mamo.reporting.resampling._AT_ONCE", 170)
    assert np.allclose(whole, resampled_means(values, b"k"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("between_seeds", "shared", "items", "own", "rows", "seeds"),
    [
        (0.0, 0.0, 30.0, 30.0, 5, 3),  # seeds differ only through the items
        (5.0, 3.0, 30.0, 30.0, 5, 3),  # seeds matter most
        (2.0, 2.0, 10.0, 40.0, 3, 3),
        (2.0, 0.0, 20.0, 20.0, 2, 2),  # the least that can be had: one degree of freedom
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(
    between_seeds: float, shared: float, items: float, own: float, rows: int, seeds: int
) -> None:
    """Experiments with a known truth: row r lies 2 r above row 0. 95 % intervals must hold it in about 95 of 100."""
    generator, count, experiments = np.random.default_rng(5), 150, 250
    held = np.zeros(2)
    for _ in range(experiments):
        values = (
            40.0
            + 2.0 * np.arange(rows)[:, None, None]
            + generator.normal(0, between_seeds, (rows, seeds, 1))
            + generator.normal(0, shared, (1, seeds, 1))
            + generator.normal(0, items, (rows, 1, count))
            + generator.normal(0, own, (rows, seeds, count))
        )
        made = grid(values)
        for i, (weights, truth) in enumerate([({"r1": 1.0, "r0": -1.0}, 2.0), ({"r0": 1.0}, 40.0)]):
            actual = made.estimate(weights, {"x": 1.0})
            assert actual is not None
            held[i] += actual.lower <= truth <= actual.upper
    # 250 experiments: 95 % give or take 3.6 % (2.6 standard errors).
    assert (held / experiments >= 0.914).all() and (held / experiments <= 0.995).all(), held / experiments


@pytest.fixture
def plan() -> Plan:
    return make_plan("smoke", ABLATIONS, only=["table6"])


def write_run(
    plan: Plan, key: str, results: Path, metrics: dict[str, float], items: dict[str, Any] | None
) -> None:
    directory = plan.runs[key].directory(results)
    directory.mkdir(parents=True)
    (directory / "record.json").write_text(
        json.dumps({"outcome": {"status": "converged"}, "metrics": metrics})
    )
    if items:
        table = pa.table(items)
        with pa.ipc.new_file(str(directory / "items.arrow"), table.schema) as writer:
            writer.write_table(table)


def retrieval(ranks: np.ndarray) -> tuple[dict[str, float], dict[str, Any]]:
    metrics = {f"{d}_r1": 100.0 * float((ranks == 1).mean()) for d in ("tr", "ir")}
    n = len(ranks)
    items = {"direction": ["tr"] * n + ["ir"] * n, "index": [*range(n)] * 2, "rank": [*ranks, *ranks]}
    return metrics, items


def test_a_table_compares_its_rows_on_the_same_items(plan: Plan, tmp_path: Path) -> None:
    """The base row finds 60 of 100; another the same but ten; another the same ones; one has no items."""
    table = plan.tables["table6"]
    ranks = np.where(np.arange(100) < 60, 1, 2)
    of = {"both": ranks, "image": np.where(np.arange(100) < 50, 1, 2), "text": ranks, "none": ranks}
    for cell in table.cells:
        if cell.runs[0] in {c.runs[0] for c in table.cells[: table.cells.index(cell)]}:
            continue
        metrics, items = retrieval(of[cell.row])
        if cell.column == "vqa":
            metrics, items = {"accuracy": 40.0}, None
        write_run(plan, cell.runs[0], tmp_path, metrics, items)
    values = collect(plan, table, tmp_path)
    lines = values.statistics_by_cell
    image = lines["image", "coco_tr"]
    assert (image.difference, image.against, image.images) == (pytest.approx(-10.0), "both", 100)
    # Ten of a hundred items differ, always the same way: sqrt(0.1 * 0.9 / 100) * 1.96 = 5.9 points.
    assert image.difference_upper - image.difference_lower == pytest.approx(11.8, abs=1.5)
    assert image.difference_p < 0.01 and image.seeds == 1
    assert lines["text", "coco_tr"].difference_lower == lines["text", "coco_tr"].difference_upper == 0
    assert lines["text", "vqa"].against is None, "one seed and no items: nothing says how far it may be off"
    assert lines["text", "vqa"].images == 0 and lines["both", "coco_tr"].against is None
    assert alike_rows(values) == {"text", "none"}


def test_items_that_are_not_the_records_are_refused(plan: Plan, tmp_path: Path) -> None:
    cell = plan.tables["table6"].cells[0]
    metrics, items = retrieval(np.ones(10, dtype=int))
    write_run(plan, cell.runs[0], tmp_path, metrics | {"tr_r1": 90.0}, items)
    with pytest.raises(
        ItemsError, match="its items give 100.0000 for 'tr_r1', its record 90.0000; remove the directory"
    ):
        collect(plan, plan.tables["table6"], tmp_path)


def test_prepared_data_says_which_captions_share_an_image(plan: Plan, tmp_path: Path) -> None:
    """With two captions per image there are half as many units as captions."""
    cell = plan.tables["table6"].cells[0]
    metrics, items = retrieval(np.ones(10, dtype=int))
    items = {k: v[:5] + v[10:] for k, v in items.items()}  # five images, ten captions
    write_run(plan, cell.runs[0], tmp_path, metrics, items)
    tr, ir = collect(plan, plan.tables["table6"], tmp_path).statistics
    assert (tr.images, ir.images) == (5, 10), "without the data each caption counts as an image of its own"
    data = plan.runs[plan.runs[cell.runs[0]].inputs["data:flickr30k"]].directory(tmp_path)
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG")
    with Writer(data, dataset="flickr30k", kind="captions", store_size=16) as writer:
        for i in range(5):
            image = writer.add_image(f"{i}", buffer.getvalue())
            for _ in range(2):
                writer.add_record("test", image=image, text="a dog")
    assert {line.images for line in collect(plan, plan.tables["table6"], tmp_path).statistics} == {5}
