"""Image-text retrieval."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mamo.jobs.job import Items, Job, JobCost, Operations, SplitSizes, Stratum, images_or_items
from mamo.specs.finetune import RetrievalSpec

KS = (1, 5, 10)


class RetrievalJob(Job[RetrievalSpec]):
    """Both directions over a whole split; an ITC shortlist re-ranked by ITM."""

    spec = RetrievalSpec
    title = "fine-tuned for image-text retrieval"
    settings = ("shortlist",)
    main = {"tr_r1": "text R@1", "ir_r1": "image R@1"}

    def cost(self, spec: RetrievalSpec, network: Operations, data: SplitSizes) -> JobCost:
        """Count one encoding of every image and text, and ITM on the shortlists."""
        words = network.spec.max_words

        def recall(split: str) -> float:
            images, texts = data.shown[split], data.records[split]
            listed = images * min(spec.shortlist, texts) + texts * min(spec.shortlist, images)
            return images * network.vision() + texts * network.text(words) + listed * network.matching(words)

        example = 3 * network.alignment(words, spec.batch_size) - network.patch_embedding()
        return JobCost(example, recall("val"), recall("test"), shared=True)

    def strata(
        self, metric: str, items: Items, images_of: Mapping[str, Sequence[int]], metrics: Mapping[str, float]
    ) -> list[Stratum] | None:
        """Recall is the share of queries whose rank is at most k; the mean recall is that of six."""
        import numpy as np

        column = "itc_rank" if metric.startswith("itc_") else "rank"  # by similarity alone, not re-ranked
        metric = metric.removeprefix("itc_")
        match = re.fullmatch(r"(tr|ir)_r(\d+)", metric)
        if column not in items:
            return None
        if metric == "mean_recall":
            parts = [(direction, k, 1 / (2 * len(KS))) for direction in ("tr", "ir") for k in KS]
        elif match:
            parts = [(match[1], int(match[2]), 1.0)]
        else:
            return None
        direction, rank = np.array(items["direction"]), np.asarray(items[column])
        captions = images_or_items(images_of, "test", int((direction == "ir").sum()))
        # Images are in the order in which the records first name them.
        queries = {"ir": captions, "tr": np.array(list(dict.fromkeys(captions.tolist())))}
        count = int((direction == "tr").sum())
        if len(queries["tr"]) != count:
            queries["tr"] = np.arange(count)
            if metric == "mean_recall":  # it is not known which captions belong to which image
                return None
        strata = []
        for name, k, weight in parts:
            scores = 100.0 * (rank[direction == name] <= k)
            strata.append(Stratum(scores, np.ones(len(scores), dtype=bool), queries[name], weight))
        return strata
