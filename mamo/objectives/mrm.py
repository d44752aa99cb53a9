"""Masked representation modelling (Eq. 1): self-distillation of fused representations at the masked positions.

Shapes: M masked positions of all items, D width of the vectors that are compared.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.distributed import global_mean
from mamo.model.transformer import initialise
from mamo.objectives.collapse import relative_error
from mamo.specs.model import ModelSpec
from mamo.specs.objectives import MrmSpec, Normalise, Widths


def _mlp(widths: Widths) -> nn.Sequential:
    inputs, hidden, outputs = widths
    mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
    initialise(mlp, inputs)
    return mlp


def make_projector(spec: MrmSpec, model: ModelSpec) -> nn.Sequential:
    """Make the projector g, an MLP with one hidden layer; online and target network each have one."""
    return _mlp(spec.projector(model).widths)


def make_predictor(spec: MrmSpec, model: ModelSpec) -> nn.Module:
    """Make the predictor h_mrm, an MLP with one hidden layer on the online side; the identity without (Table 7)."""
    head = spec.online_predictor(model)
    return _mlp(head.widths) if head else nn.Identity()


def normalised(vectors_MD: Tensor, how: Normalise) -> Tensor:
    """Bring vectors into the form whose squared error is taken, in full precision at least.

    ``l2`` and ``layer`` are scaled so that the mean over dimensions of the squared error is 2 - 2 cos (of the vectors, or of
    the vectors less their mean): between 0 and 4 whatever the width.
    """
    vectors_MD = vectors_MD.to(torch.promote_types(vectors_MD.dtype, torch.float32))
    if how == "l2":  # as in BYOL, which section 3.2.1 follows
        return F.normalize(vectors_MD, dim=-1) * vectors_MD.shape[-1] ** 0.5
    if how == "layer":
        return F.layer_norm(vectors_MD, vectors_MD.shape[-1:])
    return vectors_MD


def mrm_loss(
    predicted_MD: Tensor, target_MD: Tensor, count: Tensor | None = None, normalise: Normalise = "none"
) -> Tensor:
    """Compute the mean squared error between h(g(online)) and sg(g(target)) over the masked positions of all ranks (Eq. 1).

    Args:
        normalise: see :class:`mamo.specs.objectives.MrmSpec`.
        count: masked positions of the rank's whole batch, where this is a part of it; the parts' losses add up to its loss.
    """
    # detach() is Eq. 1's sg: no gradient reaches the target side, whatever its parameters would take.
    predicted, target = normalised(predicted_MD, normalise), normalised(target_MD.detach(), normalise)
    # Summed and divided by the whole batch's count, so that parts and ranks add up to one mean.
    squared = F.mse_loss(predicted, target, reduction="sum")
    if count is None:
        count = squared.new_tensor(len(predicted_MD))  # in fp32: bf16 cannot count beyond 256
    return global_mean(squared / predicted_MD.shape[-1], count)


def mrm_error(loss: Tensor, target_MD: Tensor, count: Tensor, normalise: Normalise) -> Tensor:
    """Divide a loss by that of the batch's best constant (see :func:`relative_error`).

    Args:
        loss: of these positions, which are M of ``count``.
    """
    # relative_error compares means, and the loss is a share of one.
    share = len(target_MD) / count
    return relative_error(loss / share, normalised(target_MD, normalise), 2)
