"""Test that the benchmarks compare things that are equal in all but their cost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
import torch
import vqa_task

from benchmarks.evaluation import rerank
from benchmarks.measure import ratio
from benchmarks.page import PAGES, filled
from benchmarks.pipeline import accounts, read_log
from benchmarks.plain_evaluation import rank_answers, rerank_anew, rerank_cached
from benchmarks.step_counts import Counting, Operation, grown
from mamo.data.tokenizer import Tokenizer, train_wordpiece


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return tiny.tokenizer(tmp_path_factory.mktemp("words"))


def test_ratios_are_of_rounds_not_of_sums() -> None:
    """One slow round, which falls on both sides, moves nothing."""
    assert ratio([2.0, 2.0, 20.0, 2.0], [1.0, 1.0, 10.0, 1.0]).median == 2.0
    ratios = ratio([3.0, 2.0, 4.0], [1.0, 1.0, 1.0])
    assert (ratios.low, ratios.median, ratios.high) == (2.5, 3.0, 3.5)


def test_all_ways_of_re_ranking_give_the_same_scores(words: Tokenizer) -> None:
    network = tiny.network(words).eval()
    ids, mask = words.encode(tiny.TEXTS, 16)
    draws = torch.Generator().manual_seed(0)
    image = torch.randn(3, 3, 32, 32, generator=draws)
    texts = torch.tensor([[0, 3, 7], [3, 2, 1], [4, 5, 6]])
    pictures = torch.tensor([[2, 0]] * 4 + [[1, 2]] * 4)
    given = (network, image, ids, mask, texts, pictures)
    with torch.no_grad():
        for parameter in network.parameters():  # so that an untrained network's judgements differ
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draws))
        ours = rerank(*given, 5)
        for plain in (rerank_cached(*given), rerank_anew(*given)):
            for mine, theirs in zip(ours, plain, strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
    assert ours[0].shape == (3, 3) and ours[1].shape == (8, 2) and ours[0].std() > 0.01


def test_both_ways_of_ranking_answers_give_the_same_scores(tmp_path: Path) -> None:
    words = train_wordpiece(["is the car red", "what is left of the dog", *vqa_task.ANSWERS], 64, tmp_path)
    task = vqa_task.sharpen(vqa_task.make_task(words, shortlist=4))
    ids, mask = words.encode(["is the car red", "what", "what is left of the dog"], vqa_task.MODEL.max_words)
    image = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        chosen, scores = task.rank(task.context(task.network.encode_image(image), ids, mask))
        plainly, plain = rank_answers(task, image, ids, mask)
    assert chosen.tolist() == plainly.tolist() and chosen.shape == (3, 4)
    torch.testing.assert_close(scores, plain, rtol=1e-4, atol=1e-4)


LOG = """\
  Date: 2026-01-05 10:00:00
Provided cores: 2
[Mon Jan  5 10:00:01 2026]
Job 1: Pre-training: mamo-0123456789
Reason: Missing output files: results/demo/pretrain/mamo-0123456789/record.json
[Mon Jan  5 10:00:01 2026]
Job 2: Values of table5
Reason: Missing output files: results/demo/tables/table5-0123456789.json
[Mon Jan  5 10:00:03 2026]
Finished jobid: 2 (Rule: values)
[Mon Jan  5 10:00:09 2026]
Finished jobid: 1 (Rule: pretrain)
Elapsed time: 0:00:10.5
"""


def test_a_run_of_snakemake_is_accounted_for(tmp_path: Path) -> None:
    """Two cores for 10.5 s: a job of 8 s, of which its record claims 6, one of 2 s without a record, and nobody's time."""
    log = tmp_path / "log"
    log.write_text(LOG)
    record = tmp_path / "demo/pretrain/mamo-0123456789/record.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"provenance": {"wall_seconds": 6.0}}))
    made = read_log(log)
    assert (made.seconds, made.cores, len(made.jobs)) == (10.5, 2, 2)
    assert accounts(made, tmp_path) == {"jobs": 8.0, "starting": 2.0, "idle": 11.0}
    log.write_text(LOG.rsplit("Elapsed", 1)[0])
    with pytest.raises(ValueError, match="not at its end"):
        read_log(log)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_the_stored_results(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text and text.count("<!-- end -->") > 1


def test_operations_are_counted_with_their_bytes_and_views_are_not() -> None:
    left, right = torch.ones(2, 3), torch.ones(3, 4)
    with Counting() as counting:
        product = (left @ right).view(8)[2:]
        product += 1
    assert [one.name for one in counting.found] == ["mm", "add_"]
    multiplied, added = counting.found
    assert multiplied.flops == 2 * 2 * 3 * 4 and multiplied.bytes == 4 * (6 + 12 + 8)
    heads = torch.ones(1, 2, 3, 4, requires_grad=True)
    with Counting() as counting:
        torch.nn.functional.scaled_dot_product_attention(heads, heads, heads).sum().backward()
    fused = [one.flops for one in counting.found if "scaled_dot_product" in one.name]
    assert fused == [4 * 2 * 3 * 3 * 4, 8 * 2 * 3 * 3 * 4]
    assert added.flops == 0 and added.bytes == 4 * (6 + 6)  # six elements, read and written


def test_counts_are_followed_along_a_line() -> None:
    """From 2 pairs (20 operations) over 4 (40) to 96: 960; bytes have a part that does not grow."""
    small, large = [Operation("mm", 20.0, 200.0)], [Operation("mm", 40.0, 300.0)]
    assert list(grown(small, large, 96)) == [Operation("mm", 960.0, 4900.0)]
    with pytest.raises(RuntimeError, match="different operations"):
        list(grown(small, [Operation("bmm", 40.0, 300.0)], 96))
