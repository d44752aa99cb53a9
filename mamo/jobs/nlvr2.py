"""NLVR2: is a sentence true of two photos?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mamo.jobs.job import Items, Job, JobCost, Operations, SplitSizes, Stratum, split_accuracy
from mamo.specs.finetune import Nlvr2Spec


class Nlvr2Job(Job[Nlvr2Spec]):
    """Two image-text pairs and paired attention."""

    spec = Nlvr2Spec
    title = "fine-tuned for statements on two images (NLVR2)"
    main = {"dev_accuracy": "accuracy on dev", "test_accuracy": "on test-P"}

    def cost(self, spec: Nlvr2Spec, network: Operations, data: SplitSizes) -> JobCost:
        """Count two images for each statement in training; in evaluation each image is encoded once."""
        words = network.spec.max_words
        judged = network.text(words) + 2 * network.fusion(words) + network.paired_attention(words)

        def accuracy(split: str) -> float:
            return data.shown[split] * network.vision() + data.records[split] * judged

        return JobCost(
            3 * (2 * network.vision() + judged) - 2 * network.patch_embedding(),
            accuracy("dev"),
            accuracy("dev") + accuracy("test"),
            parameters=network.paired_attention_parameters(),
        )

    def strata(
        self, metric: str, items: Items, images_of: Mapping[str, Sequence[int]], metrics: Mapping[str, float]
    ) -> list[Stratum] | None:
        """Accuracy on dev and test."""
        return split_accuracy(metric, items, images_of)
