"""The targets of masked image modelling and their losses (Table 8).

A new target is an entry of :data:`TARGETS`; the width of its predictions stands in :meth:`mamo.specs.objectives.MimSpec.head`.

Shapes: B pairs, S side of an image in pixels, N patches, M masked patches of an image, D width, O width of a prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from mamo.model.vision import gather_tokens, patch_pixels
from mamo.objectives.visual_tokens import VisualTokenizer
from mamo.specs.objectives import MimSpec
from mamo.specs.objectives import MimTarget as Name


class MimInputs(NamedTuple):
    """The inputs from which targets are made."""

    image_B3SS: Tensor
    """Normalised pixels of the whole image."""
    features_BVD: Tensor | None
    """(B, 1 + N, D) features of the whole image by the momentum image encoder; None where the run has none."""
    tokenizer: VisualTokenizer | None
    grid: int
    """Patches along a side."""
    patch_size: int


class MimTarget(NamedTuple):
    """One kind of target."""

    make: Callable[[MimInputs], Tensor]
    """Targets of all patches: vectors (B, N, O), or codes (B, N)."""
    loss: Callable[[Tensor, Tensor], Tensor]
    """The mean over the masked patches of predictions (B, M, O) and targets (B, M, O) or (B, M)."""


def momentum_features(inputs: MimInputs) -> Tensor:
    """Return the momentum image encoder's features of the patches (section 3.2.1): (B, N, D)."""
    assert inputs.features_BVD is not None, "a task that predicts momentum features has a target network"
    # Without the class token, which stands for no patch.
    return inputs.features_BVD[:, 1:]


def pixels(inputs: MimInputs) -> Tensor:
    """Return the patches' own pixels: (B, N, 3 * patch_size ** 2)."""
    return patch_pixels(inputs.image_B3SS, inputs.patch_size)


def visual_tokens(inputs: MimInputs) -> Tensor:
    """Return the codes of the patches by an offline tokeniser: (B, N)."""
    if inputs.tokenizer is None:
        raise ValueError("MIM predicts visual tokens, and the task has no visual tokeniser: give it one")
    return inputs.tokenizer(inputs.image_B3SS, inputs.grid)


def cross_entropy(predicted_BMO: Tensor, codes_BM: Tensor) -> Tensor:
    """Compute the cross-entropy of codes."""
    return F.cross_entropy(predicted_BMO.flatten(0, 1), codes_BM.flatten())


# Eq. 2 takes the L1 loss on features; pixels share it, so that Table 8 compares targets and not losses.
TARGETS: dict[Name, MimTarget] = {
    "momentum_features": MimTarget(momentum_features, F.l1_loss),
    "pixels": MimTarget(pixels, F.l1_loss),
    "visual_tokens": MimTarget(visual_tokens, cross_entropy),
}


def at_masked(spec: MimSpec, target_BN: Tensor, masked_BM: Tensor) -> Tensor:
    """Pick the targets of the masked patches as they are predicted: (B, M, O) vectors or (B, M) codes."""
    if target_BN.ndim == 2:  # codes
        return target_BN.gather(1, masked_BM)
    # detach(): Eq. 2's targets are constants, whoever made them.
    return standardised(spec, gather_tokens(target_BN, masked_BM).detach())


def standardised(spec: MimSpec, target: Tensor) -> Tensor:
    """Bring targets into the form that is predicted: each vector standardised where the spec asks for it; codes as they are."""
    if spec.target == "visual_tokens":
        return target
    # In full precision: the error of a feature is often smaller than bf16's steps.
    target = target.float()
    if spec.normalise_target:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    return target
