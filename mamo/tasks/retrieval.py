"""Image-text retrieval: fine-tuning with ITC + ITM, an ITC shortlist re-ranked by ITM (section 4.3, appendix A).

Shapes: P pairs of an image and a text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from mamo.data.store.records import Prepared
from mamo.model.distributed import is_distributed, rank, world_size
from mamo.model.mamo import Mamo
from mamo.specs.finetune import RetrievalSpec
from mamo.tasks.alignment import AlignmentTask
from mamo.tasks.evaluating import evaluating
from mamo.tasks.gallery import Gallery, encode_gallery
from mamo.tasks.recall import recall_metrics, rerank, shortlist
from mamo.tasks.task import Evaluation


class RetrievalTask(AlignmentTask):
    """Text retrieval (an image asks for its captions) and image retrieval (a caption asks for its image)."""

    spec: RetrievalSpec

    def evaluate(self, data: Prepared, split: str) -> Evaluation:
        """Measure recall at 1, 5 and 10 in both directions over a whole split; ``itc_*`` is that of similarity alone.

        ``items`` holds one rank per query, re-ranked and by similarity alone: ``index`` counts images in the order of first
        appearance for ``tr``, captions in the order of the records for ``ir``.

        Raises:
            PreparedError: the split is empty.
        """
        with evaluating(self, self.spec.precision):
            gallery = encode_gallery(
                self.network, self.tokenizer, self.transform_eval, data, split, self.spec.eval_batch_size
            )
            similarity, of_text = gallery.similarity, gallery.image_of_text
            images = torch.arange(len(similarity), device=of_text.device)
            # ITC proposes candidates, which ITM re-ranks (appendix A): fusing all pairs of a gallery would take days.
            texts = shortlist(similarity, images, of_text, self.spec.shortlist)
            pictures = shortlist(similarity.T, of_text, images, self.spec.shortlist)
            captions = torch.arange(len(of_text), device=of_text.device)
            # Pairs as single numbers: those that both directions shortlist are scored once.
            of_images = images[:, None] * len(captions) + texts.candidates
            of_captions = pictures.candidates * len(captions) + captions[:, None]
            pairs, where = torch.cat([of_images.flatten(), of_captions.flatten()]).unique(return_inverse=True)
            pairs_2P = torch.stack([pairs // len(captions), pairs % len(captions)])
            scores = match(self.network, gallery, pairs_2P, self.spec.eval_batch_size)[where]
            text_scores, picture_scores = scores.split(
                [texts.candidates.numel(), pictures.candidates.numel()]
            )
            text_ranks = rerank(texts, text_scores.view_as(texts.candidates)).cpu()
            image_ranks = rerank(pictures, picture_scores.view_as(pictures.candidates)).cpu()
        counts = of_text.bincount().tolist()
        # An image asks for several captions, of which the best one counts.
        by_similarity = texts.first.cpu(), pictures.first.cpu()
        alone = recall_metrics(*by_similarity, counts)
        metrics = recall_metrics(text_ranks, image_ranks, counts) | {
            f"itc_{name}": value for name, value in alone.items() if "/" not in name
        }
        items: dict[str, list[Any]] = {
            "direction": ["tr"] * len(text_ranks) + ["ir"] * len(image_ranks),
            "index": [*range(len(text_ranks)), *range(len(image_ranks))],
            "rank": text_ranks.tolist() + image_ranks.tolist(),
            "itc_rank": by_similarity[0].tolist() + by_similarity[1].tolist(),
        }
        return Evaluation(metrics, items)

    def validate(self, data: Prepared) -> float:
        """Return the mean recall on val in percent (X-VLM)."""
        return self.evaluate(data, "val").metrics["mean_recall"]

    def items_of(self, data: Prepared, evaluation: Evaluation) -> dict[str, int]:
        """Expect one query for every image and every caption of the test split."""
        split = data.manifest["splits"]["test"]
        return {"tr": split["images"], "ir": split["records"]}

    def test(self, data: Prepared) -> Evaluation:
        """Measure recall on the test split."""
        return self.evaluate(data, "test")


def match(network: Mamo, gallery: Gallery, pairs_2P: Tensor, batch_size: int) -> Tensor:
    """Score (image, text) pairs by ITM: (P,), the logit of "matched" less that of "not matched".

    Ranks that call this together share the pairs among them, and all have all scores in the end.

    Raises:
        ValueError: the gallery was encoded without its features.
    """
    if gallery.visual is None or gallery.text is None:
        raise ValueError("ITM needs the gallery's features: encode it with keep_features")
    # Texts of like length are scored together, so that hardly any padding is fused.
    lengths = gallery.mask.sum(1)[pairs_2P[1]]
    # Every rank scores every n-th batch; the others' scores are zeros until all are added up.
    scores = torch.zeros(pairs_2P.shape[1], device=pairs_2P.device)
    for number, part in enumerate(lengths.argsort(stable=True).split(batch_size)):
        # Ranks score different batches of one gallery, as each of them holds its features.
        if number % world_size() != rank():
            continue
        image, text = pairs_2P[:, part]
        longest = int(lengths[part[-1]])
        logits = network.matching_logits(
            gallery.visual[image], gallery.text[text, :longest], gallery.mask[text, :longest]
        )
        # Orders pairs as the probability does, without its saturation at 1.
        scores[part] = logits[:, 1] - logits[:, 0]
    if is_distributed():
        dist.all_reduce(scores)
    return scores
