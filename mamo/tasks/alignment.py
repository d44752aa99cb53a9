"""Image-text alignment, ITC + ITM (section 3.2.2), as fine-tuning for retrieval and grounding uses it (appendix A)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mamo.model.draws import uniform
from mamo.model.mamo import Mamo
from mamo.objectives.itc import itc_loss
from mamo.objectives.itm import hard_negatives, itm_loss


def matching_logits(network: Mamo, visual_BVD: Tensor, text_BLD: Tensor, mask_BL: Tensor) -> Tensor:
    """ITM's scores of "not matched" and "matched" for pairs of features: (B, 2), in full precision.

    The last fusion layer computes [CLS] alone, which is all that ITM reads. The head is kept out of autocast: in bf16, many
    of a gallery's pairs would score exactly the same.
    """
    x_BTD, bias = network.fusion.before_last(visual_BVD, text_BLD, mask_BL)
    tokens = visual_BVD.shape[1]
    cls = network.fusion.last(x_BTD[:, tokens : tokens + 1], x_BTD, bias)[:, 0]
    with torch.autocast(cls.device.type, enabled=False):
        return network.itm_head(cls.float())


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
    image_BE, text_BE = network.project_image(visual), network.project_text(text)
    itc = itc_loss(image_BE, text_BE, network.temperature)
    draws = uniform(batch["seed"], batch["step"], "itm", len(ids), 2).T.to(ids.device)
    wrong = hard_negatives(image_BE, text_BE, network.temperature, batch["image_id"], draws, len(ids), random)
    logits = matching_logits(
        network,
        torch.cat([visual, visual, visual[wrong.image]]),
        torch.cat([text, text[wrong.text], text]),
        torch.cat([mask, mask[wrong.text], mask]),
    )
    matched, wrong_text, wrong_image = logits.chunk(3)
    itm = itm_loss(matched, wrong_text, wrong_image)
    with torch.no_grad():
        says_matched = logits.argmax(1) == 1
        is_matched = torch.arange(len(logits), device=logits.device) < len(matched)
        accuracy = (says_matched == is_matched).float().mean()
    return {"loss": itc + itm, "itc": itc, "itm": itm, "itm_accuracy": accuracy}
