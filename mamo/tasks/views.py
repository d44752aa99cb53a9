"""The views of a batch's pairs that objectives read, fused in one call.

The views are the matched pair, the pair with a wrong text or a wrong image (ITM), and the two masked views of section 3.2.1.
Each is read at a few of its tokens.

Shapes: B pairs, S side of an image in pixels, N patches, V = 1 + N visual tokens, L sub-words of a text, T = V + L tokens of
the sequence [visual ; text], Q of them that are read, M masked patches of an image, K masked sub-words of all texts, D width, E
width of ITC's projections.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from mamo.model.mamo import Mamo
from mamo.model.step_random import uniform
from mamo.model.vision import gather_tokens
from mamo.objectives.batch_counts import BatchCounts
from mamo.objectives.itm import Negatives, hard_negatives
from mamo.objectives.masking import PatchMask, TextMask, TextPlaces
from mamo.specs.objectives import ObjectivesSpec
from mamo.tasks.batch_pass import BatchPass, rows_of


class Features(NamedTuple):
    """The input of the fusion encoder."""

    visual: Tensor
    """(B, V, D)."""
    text: Tensor
    """(B, L, D)."""
    mask: Tensor
    """(B, L), 1 at sub-words, 0 at padding."""


class Judged(NamedTuple):
    """The matched and the wrong pairs that ITM judges."""

    matched: Features
    wrong_text: Features | None
    """Of each image with a wrong text; None without negatives."""
    wrong_image: Features | None
    """Of each text with a wrong image; None without negatives."""


class Pairs(NamedTuple):
    """The pairs whose losses are computed at once: the whole batch, or a micro-batch."""

    image: Tensor
    """(B, 3, S, S)."""
    ids: Tensor
    """(B, L) sub-words before masking."""
    mask: Tensor
    """(B, L), 1 at sub-words, 0 at padding."""
    judged: Judged
    patches: PatchMask
    words: TextMask
    places: TextPlaces
    """Of the masked sub-words."""
    counts: BatchCounts
    """Of the whole batch."""
    progress: float
    """The share of the run that is done."""

    @property
    def share(self) -> float:
        """The share of the batch that these pairs are."""
        return self.counts.share(len(self.ids))


def draw_negatives(
    batch: dict[str, Any], image_BE: Tensor, text_BE: Tensor, temperature: Tensor, group: int, random: float
) -> Negatives:
    """Draw the negatives that ITM judges, by the step's own random numbers; see :func:`hard_negatives`."""
    # By seed and step, not by the global generator: a resumed run, or one on more GPUs, draws the same.
    draws = uniform(batch["seed"], batch["step"], "itm", len(image_BE), 2).T.to(image_BE.device)
    return hard_negatives(image_BE, text_BE, temperature, batch["image_id"], draws, group, random)


def judged_pairs(through: BatchPass, part: slice, mask_BL: Tensor, negatives: Negatives | None) -> Judged:
    """Return the features of a part's pairs, and of the wrong pairs that negatives make of them.

    Args:
        mask_BL: of the whole batch.
        negatives: of the whole batch; a wrong partner may belong to another part.
    """
    if negatives is None:
        return Judged(
            Features(*(rows_of(x, part) for x in (through.visual, through.text, mask_BL))), None, None
        )
    images, texts = negatives.image[part], negatives.text[part]
    other_image, other_text, other_mask = through.visual[images], through.text[texts], mask_BL[texts]
    visual, text, mask = (rows_of(x, part) for x in (through.visual, through.text, mask_BL))
    return Judged(
        Features(visual, text, mask),
        wrong_text=Features(visual, other_text, other_mask),
        wrong_image=Features(other_image, text, mask),
    )


def take_pairs(
    batch: dict[str, Any],
    through: BatchPass,
    part: slice,
    negatives: Negatives | None,
    patches: PatchMask,
    words: TextMask,
) -> Pairs:
    """Take a part of a pre-training batch with everything that its losses read.

    Args:
        negatives, patches, words: of the whole batch; without ITM there are no negatives.
    """
    mask = batch["mask"]
    hidden = TextMask(*(rows_of(tokens, part) for tokens in words))
    judged = judged_pairs(through, part, mask, negatives)
    return Pairs(
        image=rows_of(batch["image"], part),
        ids=rows_of(batch["ids"], part),
        mask=judged.matched.mask,
        judged=judged,
        patches=PatchMask(*(rows_of(indices, part) for indices in patches)),
        words=hidden,
        places=hidden.places(),
        # Of the whole batch, not of the part: what a part's loss is a share of.
        counts=BatchCounts(len(mask), words.chosen.sum(), mask.new_tensor(patches.masked.numel())),
        progress=batch["progress"],
    )


class View(NamedTuple):
    """Pairs, and the tokens whose fused representation is read."""

    features: Features
    read: Tensor | slice
    """(B, Q) places of tokens in the sequence [visual ; text], or the same places in all pairs."""


def views_of(network: Mamo, asked: ObjectivesSpec, pairs: Pairs, decodes: bool) -> dict[str, View]:
    """Encode what is masked, and list every view that an objective reads."""
    matched, wrong_text, wrong_image = pairs.judged
    visual, text, mask = matched
    tokens = visual.shape[1]  # the text's [CLS] stands behind them in the sequence [visual ; text]
    cls = slice(tokens, tokens + 1)
    views: dict[str, View] = {}
    if wrong_text is not None and wrong_image is not None:
        views["matched"] = View(matched, cls)
        views["wrong_text"] = View(wrong_text, cls)
        views["wrong_image"] = View(wrong_image, cls)
    if asked.masks_image:
        masked = network.encode_image(pairs.image, pairs.patches.keep)
        # Place 0 is the class token.
        read = slice(0, tokens) if decodes else 1 + pairs.patches.masked
        views["masked_image"] = View(Features(masked, text, mask), read)
    if asked.masks_text:
        masked = network.encode_text(pairs.words.ids, mask)
        views["masked_text"] = View(Features(visual, masked, mask), tokens + pairs.places.places)
    return views


def fuse_views(network: Mamo, asked: ObjectivesSpec, pairs: Pairs, decodes: bool) -> dict[str, Tensor]:
    """Fuse all views at the tokens that objectives read.

    Up to the last layer all views are one batch, which keeps a processor busier than one call for each. In the last layer, all
    tokens are keys and values, and queries only those that are read.

    Args:
        decodes: MIM's decoder reads all image tokens, not only the masked ones.

    Returns:
        of the pairs that ITM judges the fused [CLS], (B, 1, D); of the masked text its masked sub-words, (K, D); of the
        masked image its masked patches, (B, M, D), or all image tokens, (B, V, D), where a decoder reads them.
    """
    views = views_of(network, asked, pairs, decodes)
    if not views:
        return {}
    features = zip(*(view.features for view in views.values()), strict=True)
    x, bias = network.fusion.before_last(*(torch.cat(tensors) for tensors in features))
    # Every view has as many pairs: the stacked batch is cut into them again.
    batch, fused = len(pairs.mask), {}
    for (name, view), x_BTD, bias_B11T in zip(views.items(), x.split(batch), bias.split(batch), strict=True):
        read = x_BTD[:, view.read] if isinstance(view.read, slice) else gather_tokens(x_BTD, view.read)
        fused[name] = network.fusion.last(read, x_BTD, bias_B11T)
    if "masked_text" in fused:
        # Texts have different numbers of masked sub-words: what filled the shorter ones up goes again.
        fused["masked_text"] = fused["masked_text"][pairs.places.real]
    return fused
