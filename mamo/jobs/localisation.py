"""Localisation: per-word Grad-CAM against the world's true boxes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from mamo.jobs.job import Items, Job, JobCost, Operations, SplitSizes, Stratum
from mamo.specs.finetune import LocalisationSpec


class LocalisationJob(Job[LocalisationSpec]):
    """Maps of ITM's score, one for each word that names an object or a colour."""

    spec = LocalisationSpec
    title = "measured for localisation"
    settings = ("layer",)
    main = {"object_pointing": "words that find their object"}

    def cost(self, spec: LocalisationSpec, network: Operations, data: SplitSizes) -> JobCost:
        """Return nothing for validation: such a job trains nothing."""
        words = network.spec.max_words
        gallery = data.shown["test"] * network.vision() + data.records["test"] * network.text(words)
        passes = network.spec.fusion_layers - 1  # one for each layer that has maps
        heat = gallery + 2 * passes * data.records["test"] * network.matching(words)
        example = 3 * network.alignment(words, spec.batch_size) - network.patch_embedding()
        return JobCost(example, 0.0, heat)

    def strata(
        self, metric: str, items: Items, images_of: Mapping[str, Sequence[int]], metrics: Mapping[str, float]
    ) -> list[Stratum] | None:
        """Return the share of heat inside the box, or the pointing game's hits, over words of one sort, at one layer."""
        import numpy as np

        match = re.fullmatch(r"(object|colour)_(share|pointing)(_layer\d+)?", metric)
        if not match:
            return None
        what, score, layer = match.groups(default="")
        column = {"share": "share", "pointing": "hit"}[score] + layer
        if column not in items:
            return None
        counted = np.array(items["what"]) == what
        scores = np.asarray(items[column], dtype=float)
        # Every image with a named word counts, even without a word of this sort.
        images = np.unique(np.array(items["image"]), return_inverse=True)[1]
        return [Stratum(scores, counted, images)]

    def is_score(self, metric: str) -> bool:
        """Tell scores from counts: the number of measured words is no score."""
        return metric not in self.spec.COUNTS and super().is_score(metric)
