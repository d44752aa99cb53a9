"""Weakly supervised grounding of referring expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mamo.jobs.job import Items, Job, JobCost, Operations, SplitSizes, Stratum, split_accuracy
from mamo.specs.finetune import GroundingSpec

SPLITS = ("val", "testA", "testB")


class GroundingJob(Job[GroundingSpec]):
    """ITC + ITM, then Grad-CAM of ITM's score over proposals."""

    spec = GroundingSpec
    title = "fine-tuned for weakly supervised grounding"
    settings = ("layer", "area_exponent", "iou")
    main = {"val_accuracy": "accuracy on val", "testA_accuracy": "on testA", "testB_accuracy": "on testB"}

    def cost(self, spec: GroundingSpec, network: Operations, data: SplitSizes) -> JobCost:
        """Count validation by ITC alone, which chooses weights, and Grad-CAM forwards and back at every layer that has maps."""
        words = network.spec.max_words

        def gallery(split: str) -> float:
            return data.shown[split] * network.vision() + data.records[split] * network.text(words)

        passes = network.spec.fusion_layers - 1
        heat = sum(
            gallery(split) + 2 * passes * data.records[split] * network.matching(words) for split in SPLITS
        )
        example = 3 * network.alignment(words, spec.batch_size) - network.patch_embedding()
        return JobCost(example, gallery("val"), heat)

    def strata(
        self, metric: str, items: Items, images_of: Mapping[str, Sequence[int]], metrics: Mapping[str, float]
    ) -> list[Stratum] | None:
        """Accuracy on each split, under every reading of which tokens are averaged and which layer is read."""
        return split_accuracy(metric, items, images_of)
