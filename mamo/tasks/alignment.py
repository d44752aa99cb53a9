"""Image-text alignment, ITC + ITM (section 3.2.2), as fine-tuning for retrieval and grounding uses it (appendix A).

Shapes: B pairs, V visual tokens, L sub-words, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mamo.model.mamo import Mamo
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import itm_loss
from mamo.specs.finetune import AlignmentSpec
from mamo.tasks.accumulation import Autocast
from mamo.tasks.batch_pass import BatchPass, Losses, MicroBatches, WholeBatch
from mamo.tasks.expectations import StepExpectations
from mamo.tasks.task import DownstreamTask
from mamo.tasks.views import Judged, draw_negatives, judged_pairs


class AlignmentTask(DownstreamTask):
    """A task that is fine-tuned with ITC + ITM."""

    spec: AlignmentSpec

    def forward(self, batch: dict[str, Any], through: BatchPass | None = None) -> Losses:
        """See :func:`alignment_losses`."""
        through = through or WholeBatch(self.network, batch)
        return alignment_losses(self.network, batch, through, self.spec.itm_random)

    def accumulate(self, batch: dict[str, Any], size: int, autocast: Autocast) -> Losses:
        """Leave the whole batch's gradient on the parameters, with ``size`` pairs in the network at once."""
        return self(batch, MicroBatches(self.network, batch, size, autocast))

    def expectations(self) -> StepExpectations:
        """Expect both losses, and projections that differ from item to item; nothing is masked."""
        network = self.network
        features = {"image": network.vision_projection, "text": network.text_projection}
        return StepExpectations(("loss", "itc", "itm"), (network.fusion.mask_token,), features=features)


def alignment_losses(network: Mamo, batch: dict[str, Any], through: BatchPass, random: float = 0.0) -> Losses:
    """Compute ITC (Eq. 4) plus ITM (Eq. 5) of a batch of pairs.

    Args:
        batch: image (B, 3, S, S), ids and mask (B, L), image_id (B,), and the seed and step that fix the draws.
        through: how the batch goes through the network. Contrast and hard negatives are those of this rank's whole batch.
        random: share of the negatives that are drawn uniformly.

    Returns:
        ``loss``, its parts ``itc`` and ``itm``, and ``itm_accuracy`` (share of the 3 B judgements that are right, detached).

    Raises:
        ValueError: all pairs of the batch show the same image, so there is no negative.
    """
    mask, temperature = batch["mask"], network.temperature
    with through.computing():
        image_BE, text_BE = network.project_image(through.visual), network.project_text(through.text)
        negatives = draw_negatives(batch, image_BE, text_BE, temperature, len(mask), random)
        through.add(itc=itc_loss(image_BE, text_BE, temperature))
    for part in through.parts:
        with through.computing():
            # A wrong partner may belong to another part: negatives are drawn among all pairs, whatever fits into memory.
            judged = judged_pairs(through, part, mask, negatives)
            share = len(judged.matched.mask) / len(mask)
            itm, accuracy = _judge(network, judged, share)
            through.add(itm=itm)
            through.monitor({"itm_accuracy": accuracy}, share)
    return through.result()


def _judge(network: Mamo, judged: Judged, share: float) -> tuple[Tensor, Tensor]:
    """Return ITM's loss over right and wrong pairs, and the share of them that is judged rightly."""
    # Three times the batch in one call of the fusion encoder.
    features = zip(*(pairs for pairs in judged if pairs is not None), strict=True)
    logits = network.matching_logits(*(torch.cat(tensors) for tensors in features))
    of_matched, of_wrong_text, of_wrong_image = logits.chunk(3)
    # One of three judgements is "matched", so that always saying no reaches two thirds.
    with torch.no_grad():
        says_matched = logits.argmax(1) == 1
        is_matched = torch.arange(len(logits), device=logits.device) < len(of_matched)
        accuracy = (says_matched == is_matched).float().mean()
    return itm_loss(of_matched, of_wrong_text, of_wrong_image, share), accuracy
