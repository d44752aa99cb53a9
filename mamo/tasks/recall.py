"""Recall at k: shortlists, ranks and what chance reaches.

Ties keep a fixed order: the candidates' own, never that of what is right. A scorer that says the same of
everything therefore reaches about chance, and no more.

Shapes: Q queries, C candidates of the gallery, K candidates of a shortlist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mamo.jobs.retrieval import KS

_ROWS = 1024  # queries sorted at a time: a full order of 25,000 x 5,000 scores would take a gigabyte


class Shortlist(NamedTuple):
    """Each query's candidates of highest similarity, and how far down similarity alone puts a right one."""

    candidates: Tensor
    """(Q, K) indices, best first."""
    correct: Tensor
    """(Q, K) True where a candidate is right."""
    first: Tensor
    """(Q,) rank, from 1, of the first right candidate among all by similarity."""


def shortlist(similarity_QC: Tensor, query_Q: Tensor, candidate_C: Tensor, size: int) -> Shortlist:
    """List the ``size`` most similar candidates of each query, or all if there are fewer.

    Args:
        similarity_QC: any scores; NaN counts as the least.
        query_Q, candidate_C: identities; a candidate is right where they are equal.

    Raises:
        ValueError: a query has no right candidate.
    """
    parts = []
    for scores, query in zip(similarity_QC.split(_ROWS), query_Q.split(_ROWS), strict=True):
        order = _least_if_nan(scores).argsort(dim=1, descending=True, stable=True)
        correct = candidate_C[order] == query[:, None]
        # A query that nothing answers would count as missed, and hide a gap in the data.
        if not correct.any(1).all():
            raise ValueError("a query has no right candidate among the gallery")
        parts.append((order[:, :size], correct[:, :size], correct.int().argmax(1) + 1))
    return Shortlist(*(torch.cat(column) for column in zip(*parts, strict=True)))


def rerank(listed: Shortlist, scores_QK: Tensor) -> Tensor:
    """Rank the first right candidate, from 1, once the shortlist is ordered by other scores: (Q,).

    Equal scores keep the order of similarity. Candidates outside of the shortlist stay behind it, as similarity has them.
    """
    # Stable, so that equal scores keep the order of similarity.
    order = _least_if_nan(scores_QK).argsort(dim=1, descending=True, stable=True)
    correct = listed.correct.gather(1, order)
    return torch.where(correct.any(1), correct.int().argmax(1) + 1, listed.first)


def recall(ranks_Q: Tensor, k: int) -> float:
    """Compute the share of queries, in percent, with a right candidate among the first k."""
    return 100.0 * (ranks_Q <= k).double().mean().item()


def chance_recall(correct: Sequence[int], candidates: int, k: int) -> float:
    """Compute the expected recall at k of a random order, in percent: 1 - C(n - c, k) / C(n, k), averaged over queries.

    Args:
        correct: c, the number of right candidates of each query.
        candidates: n.
    """
    k = min(k, candidates)  # a small gallery is found as a whole
    missed = [math.comb(candidates - c, k) / math.comb(candidates, k) for c in correct]
    return 100.0 * (1.0 - sum(missed) / len(missed))


def recall_metrics(text_ranks: Tensor, image_ranks: Tensor, captions: Sequence[int]) -> dict[str, float]:
    """Compute R@1, 5, 10 of text retrieval (``tr``) and image retrieval (``ir``), their mean, and chance of each; in percent.

    Args:
        text_ranks: one rank per image: the best of its captions.
        image_ranks: one rank per caption.
        captions: number of captions of each image.
    """
    metrics = {f"tr_r{k}": recall(text_ranks, k) for k in KS} | {
        f"ir_r{k}": recall(image_ranks, k) for k in KS
    }
    chance = {f"tr_r{k}": chance_recall(captions, len(image_ranks), k) for k in KS}
    chance |= {f"ir_r{k}": chance_recall([1], len(text_ranks), k) for k in KS}
    for values in (metrics, chance):
        values["mean_recall"] = sum(values.values()) / len(values)
    return metrics | {f"chance/{name}": value for name, value in chance.items()}


def _least_if_nan(scores: Tensor) -> Tensor:
    # argsort would put NaN first.
    return scores.masked_fill(scores.isnan(), float("-inf"))
