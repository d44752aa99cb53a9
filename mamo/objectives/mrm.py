"""Masked representation modelling (Eq. 1): self-distillation of fused representations at the masked positions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.distributed import global_mean
from mamo.model.transformer import initialise
from mamo.specs.model import ModelSpec
from mamo.specs.pretrain import MrmSpec, Normalise


def _mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
    initialise(mlp, inputs)
    return mlp


def make_projector(spec: MrmSpec, model: ModelSpec) -> nn.Sequential:
    """The projector g, an MLP with one hidden layer; online and target each have one."""
    return _mlp(
        model.width, round(model.width * spec.hidden_ratio), round(model.width * spec.projection_ratio)
    )


def make_predictor(spec: MrmSpec, model: ModelSpec) -> nn.Module:
    """The predictor h_mrm, an MLP with one hidden layer, on the online side only; the identity without (Table 7)."""
    width = round(model.width * spec.projection_ratio)
    return _mlp(width, round(model.width * spec.hidden_ratio), width) if spec.predictor else nn.Identity()


def normalised(vectors_MD: Tensor, how: Normalise) -> Tensor:
    """Vectors as their squared error is taken, in full precision at least.

    ``l2`` and ``layer`` are scaled so that the mean over dimensions of the squared error is 2 - 2 cos (of the vectors, or of
    the vectors less their mean): between 0 and 4 whatever the width.
    """
    vectors_MD = vectors_MD.to(torch.promote_types(vectors_MD.dtype, torch.float32))
    if how == "l2":
        return F.normalize(vectors_MD, dim=-1) * vectors_MD.shape[-1] ** 0.5
    if how == "layer":
        return F.layer_norm(vectors_MD, vectors_MD.shape[-1:])
    return vectors_MD


def mrm_loss(
    predicted_MD: Tensor, target_MD: Tensor, count: Tensor | None = None, normalise: Normalise = "none"
) -> Tensor:
    """Mean squared error between h(g(online)) and sg(g(target)) over the masked positions of all ranks.

    Args:
        normalise: see :class:`mamo.specs.pretrain.MrmSpec`.
        count: masked positions of the rank's whole batch, where this is a part of it; the parts' losses add up to its loss.
    """
    predicted, wanted = normalised(predicted_MD, normalise), normalised(target_MD.detach(), normalise)
    squared = F.mse_loss(predicted, wanted, reduction="sum")
    if count is None:
        count = squared.new_tensor(len(predicted_MD))  # in fp32: bf16 cannot count beyond 256
    return global_mean(squared / predicted_MD.shape[-1], count)
