"""Image-text alignment, ITC + ITM (section 3.2.2), as fine-tuning for retrieval and grounding uses it (appendix A)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mamo.model.draws import uniform
from mamo.model.mamo import Mamo
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import Negatives, hard_negatives, itm_loss
from mamo.specs.finetune import AlignmentSpec
from mamo.tasks.accumulation import Autocast, CachedFeatures, add_parts
from mamo.tasks.soundness import Sound
from mamo.tasks.task import DownstreamTask


def matching_logits(network: Mamo, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """See :meth:`mamo.model.mamo.Mamo.matching_logits`."""
    return network.matching_logits(visual_BVD, text_BLD, mask_BL)


class AlignmentTask(DownstreamTask):
    """A task that is fine-tuned with ITC + ITM."""

    spec: AlignmentSpec

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """See :func:`alignment_losses`."""
        return alignment_losses(self.network, batch, self.spec.itm_random)

    def sound(self) -> Sound:
        """Both losses, from projections that differ; nothing is masked."""
        network = self.network
        features = {"image": network.vision_projection, "text": network.text_projection}
        return Sound(("loss", "itc", "itm"), (network.fusion.mask_token,), features=features)

    def accumulate(self, batch: dict[str, Any], size: int, autocast: Autocast) -> dict[str, Tensor]:
        """The whole batch's gradient from micro-batches; contrast and negatives are those of the whole batch."""
        network, mask = self.network, batch["mask"]
        cached = CachedFeatures(network, batch, size, autocast)
        with autocast():
            itc, wrong = _contrast(network, batch, cached.visual, cached.text, self.spec.itm_random)
        itc.backward()
        total = {"itc": itc.detach().float()}
        for part in cached.parts:
            share = (part.stop - part.start) / len(mask)
            with autocast():
                parts = _matching(
                    network,
                    (cached.visual[part], cached.text[part], mask[part]),
                    cached.visual[wrong.image[part]],
                    (cached.text[wrong.text[part]], mask[wrong.text[part]]),
                )
            (parts["itm"] * share).backward()
            add_parts(total, parts, share)
        cached.backward()
        return {"loss": total["itc"] + total["itm"], **total}


def alignment_losses(network: Mamo, batch: dict[str, Any], random: float = 0.0) -> dict[str, Tensor]:
    """ITC (Eq. 4) plus ITM (Eq. 5) of a batch of pairs.

    Args:
        batch: image (B, 3, S, S), ids and mask (B, L), image_id (B,), and the seed and step that fix the draws. Hard
            negatives come from this rank's whole batch.

    Returns:
        ``loss``, its parts ``itc`` and ``itm``, and ``itm_accuracy`` (share of the 3 B pairs judged rightly, detached).

    Raises:
        ValueError: all pairs of the batch show the same image, so there is no negative.
    """
    ids, mask = batch["ids"], batch["mask"]
    visual, text = network.encode_image(batch["image"]), network.encode_text(ids, mask)
    itc, wrong = _contrast(network, batch, visual, text, random)
    parts = _matching(
        network, (visual, text, mask), visual[wrong.image], (text[wrong.text], mask[wrong.text])
    )
    return {"loss": itc + parts["itm"], "itc": itc, **parts}


def _contrast(
    network: Mamo, batch: dict[str, Any], visual_BVD: Tensor, text_BLD: Tensor, random: float
) -> tuple[Tensor, Negatives]:
    """ITC, and the negatives drawn by its similarities."""
    ids = batch["ids"]
    image_BE, text_BE = network.project_image(visual_BVD), network.project_text(text_BLD)
    itc = itc_loss(image_BE, text_BE, network.temperature)
    draws = uniform(batch["seed"], batch["step"], "itm", len(ids), 2).T.to(ids.device)
    return itc, hard_negatives(
        image_BE, text_BE, network.temperature, batch["image_id"], draws, len(ids), random
    )


def _matching(
    network: Mamo, pair: tuple[Tensor, Tensor, Tensor], wrong_visual: Tensor, wrong: tuple[Tensor, Tensor]
) -> dict[str, Tensor]:
    """ITM over pairs (features of image and text, mask), each with a wrong image and with a wrong text (features, mask)."""
    visual, text, mask = pair
    wrong_text, wrong_mask = wrong
    logits = matching_logits(
        network,
        torch.cat([visual, visual, wrong_visual]),
        torch.cat([text, wrong_text, text]),
        torch.cat([mask, wrong_mask, mask]),
    )
    matched, with_wrong_text, with_wrong_image = logits.chunk(3)
    itm = itm_loss(matched, with_wrong_text, with_wrong_image)
    with torch.no_grad():
        says_matched = logits.argmax(1) == 1
        is_matched = torch.arange(len(logits), device=logits.device) < len(matched)
        accuracy = (says_matched == is_matched).float().mean()
    return {"itm": itm, "itm_accuracy": accuracy}
