"""Random masking of image patches and sub-words (sections 3.2.1 and 4.2).

The random numbers come from outside (see :mod:`mamo.model.step_random`): the same pairs get the same masks on one GPU and on
sixteen.

Shapes: B pairs, N patches, P visible patches, L sub-words of a text, K masked sub-words of the text that has the most, V
entries of the vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from mamo.data.tokenizer import Tokenizer
from mamo.model.step_random import uniform
from mamo.specs.masking import MaskedUnit, MaskingSpec

CONTINUES = "##"  # WordPiece's mark


class PatchMask(NamedTuple):
    """The patches that stay visible and those that are to be predicted; indices are sorted."""

    keep: Tensor
    """(B, P) indices of visible patches."""
    masked: Tensor
    """(B, N - P) indices of removed patches."""


class TextMask(NamedTuple):
    """A masked text."""

    ids: Tensor
    """(B, L) token ids after replacement."""
    chosen: Tensor
    """(B, L) True where a sub-word is to be predicted."""

    def places(self) -> TextPlaces:
        """List the positions of the chosen sub-words, in as many columns as the text with the most of them needs."""
        # The size is read from the data, so a GPU has to be waited for here.
        most = max(1, int(self.chosen.sum(1).max()))
        # Stable, so that a text's chosen sub-words keep their order.
        order_BL = self.chosen.sort(dim=1, descending=True, stable=True).indices
        return TextPlaces(order_BL[:, :most], self.chosen.gather(1, order_BL[:, :most]))


class TextPlaces(NamedTuple):
    """Positions of the chosen sub-words, filled up with other positions where a text has fewer."""

    places: Tensor
    """(B, K) positions."""
    real: Tensor
    """(B, K) True where the position's sub-word is chosen."""


def mask_patches(draws_BN: Tensor, ratio: float) -> PatchMask:
    """Remove ``round(ratio * N)`` patches of each image, at least one, and keep at least one.

    Args:
        draws_BN: uniform numbers; the patches with the least ones are removed.
    """
    patches = draws_BN.shape[1]
    # As many of every image, so that a batch stays a rectangle.
    removed = min(max(round(ratio * patches), 1), patches - 1)
    order = draws_BN.argsort(1)
    return PatchMask(order[:, removed:].sort(1).values, order[:, :removed].sort(1).values)


def mask_text(
    ids_BL: Tensor,
    maskable_BL: Tensor,
    spec: MaskingSpec,
    mask_id: int,
    vocabulary: Tensor,
    draws_3BL: Tensor,
    starts_BL: Tensor | None = None,
) -> TextMask:
    """Choose ``round(text_ratio * n)`` of each text's n sub-words, at least one; 80 % become [MASK], 10 % random (section 4.2).

    Where units of several sub-words are chosen as a whole, they are taken in random order until that many sub-words are
    reached; the last unit may exceed it.

    Args:
        maskable_BL: True for sub-words; False for [CLS], [SEP] and padding, which are never chosen.
        vocabulary: ids from which random replacements are drawn (no special tokens).
        draws_3BL: uniform numbers in [0, 1): the order of choice, the kind of replacement, the random sub-word.
        starts_BL: True where a unit starts that is chosen as a whole; none: each sub-word is one.

    Returns:
        The masked ids and the chosen positions. A text without sub-words has none.
    """
    counts_B = maskable_BL.sum(1)
    quota_B = (counts_B * spec.text_ratio).round().clamp(min=1).minimum(counts_B)
    # Draws lie below 1, so 2 puts what must not be masked behind everything else.
    order_BL = draws_3BL[0].masked_fill(~maskable_BL, 2.0)
    if starts_BL is None:
        rank_BL = order_BL.argsort(1).argsort(1)  # the second sort turns an order into ranks
    else:
        # A unit's sub-words take its first one's draw; before each come all sub-words of the units drawn lower.
        places_L = torch.arange(starts_BL.shape[1], device=starts_BL.device)
        first_BL = torch.where(starts_BL, places_L, 0).cummax(1).values
        unit_BL = order_BL.gather(1, first_BL).masked_fill(~maskable_BL, 2.0)
        rank_BL = (unit_BL[:, None, :] < unit_BL[:, :, None]).sum(2)
    chosen = (rank_BL < quota_B[:, None]) & maskable_BL
    # The rest keeps its sub-word: the network must not take an unmasked one for granted (BERT).
    kind, pick = draws_3BL[1], draws_3BL[2]
    randoms = vocabulary[(pick * len(vocabulary)).long()]
    masked = torch.where(chosen & (kind < spec.replace_mask), mask_id, ids_BL)
    is_random = chosen & (kind >= spec.replace_mask) & (kind < spec.replace_mask + spec.replace_random)
    return TextMask(torch.where(is_random, randoms, masked), chosen)


class TextMasker(nn.Module):
    """Mask texts of one vocabulary."""

    special: Tensor
    vocabulary: Tensor
    continues: Tensor
    """(V,) True for sub-words that continue a word."""

    def __init__(self, spec: MaskingSpec, tokenizer: Tokenizer, max_words: int) -> None:
        super().__init__()
        self.spec, self.mask_id, self.max_words = spec, tokenizer.mask_id, max_words
        special = torch.tensor(
            [tokenizer.pad_id, tokenizer.unk_id, tokenizer.cls_id, tokenizer.sep_id, tokenizer.mask_id]
        )
        # Not stored with the weights: they follow from the vocabulary.
        everything = torch.arange(tokenizer.vocab_size)
        self.register_buffer("special", special, persistent=False)
        self.register_buffer("vocabulary", everything[~torch.isin(everything, special)], persistent=False)
        inner = [token.startswith(CONTINUES) for token in tokenizer.tokens(everything)]
        self.register_buffer("continues", torch.tensor(inner), persistent=False)

    def forward(self, ids_BL: Tensor, mask_BL: Tensor, seed: int, step: int) -> TextMask:
        """Mask the texts of a step: the same for a text whatever the rank or the padding of its batch."""
        # Drawn at the spec's longest length and cut: a batch's padding must not move a text's numbers.
        draws = uniform(seed, step, "words", len(ids_BL), 3, self.max_words)[..., : ids_BL.shape[1]]
        maskable = (mask_BL == 1) & ~torch.isin(ids_BL, self.special)
        return mask_text(
            ids_BL,
            maskable,
            self.spec,
            self.mask_id,
            self.vocabulary,
            draws.transpose(0, 1).to(ids_BL.device),
            self._starts(ids_BL, maskable, seed, step),
        )

    def _starts(self, ids_BL: Tensor, maskable_BL: Tensor, seed: int, step: int) -> Tensor | None:
        """Mark where the units start that are chosen as a whole; None where each sub-word is one."""
        unit: MaskedUnit = self.spec.unit
        if unit == "subword":
            return None
        starts = ~self.continues[ids_BL] | ~maskable_BL
        if unit == "span":
            # Each word begins a span with the same probability: their lengths are geometric, as SpanBERT draws them.
            draws = uniform(seed, step, "spans", len(ids_BL), self.max_words)[:, : ids_BL.shape[1]]
            after_special = ~maskable_BL.roll(1, 1)
            starts &= (draws.to(ids_BL.device) < 1 / self.spec.span_words) | after_special | ~maskable_BL
        return starts
