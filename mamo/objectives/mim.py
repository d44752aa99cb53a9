"""Masked image modelling (Eq. 2): momentum visual features, raw pixels or visual tokens (Tables 8 and 9)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.transformer import PreNormLayer, initialise
from mamo.objectives.masking import at
from mamo.specs.model import ModelSpec
from mamo.specs.pretrain import MimSpec


class MimHead(nn.Module):
    """The predictor h_mim: an MLP with one hidden layer, behind ``decoder_depth`` transformer blocks if any."""

    def __init__(self, spec: MimSpec, model: ModelSpec, outputs: int) -> None:
        super().__init__()
        self.decoder = nn.ModuleList(
            PreNormLayer(model.width, model.heads, model.mlp_ratio) for _ in range(spec.decoder_depth)
        )
        self.norm = nn.LayerNorm(model.width, eps=1e-6) if spec.decoder_depth else nn.Identity()
        hidden = round(model.width * spec.hidden_ratio)
        self.mlp = nn.Sequential(nn.Linear(model.width, hidden), nn.GELU(), nn.Linear(hidden, outputs))
        initialise(self, model.width)

    def forward(self, fused_BTD: Tensor, masked_BM: Tensor) -> Tensor:
        """Fused image tokens -> predictions at the masked patches, (B, M, outputs).

        Args:
            fused_BTD: the masked patches alone, (B, M, D); with decoder blocks all image tokens, class token first.
        """
        if not self.decoder:
            return self.mlp(fused_BTD)
        for layer in self.decoder:
            fused_BTD = layer(fused_BTD)
        return self.mlp(self.norm(at(fused_BTD[:, 1:], masked_BM)))


def outputs(spec: MimSpec, model: ModelSpec, codes: int) -> int:
    """Width of a prediction for each kind of target."""
    return {"momentum_features": model.width, "pixels": 3 * model.patch_size**2, "visual_tokens": codes}[
        spec.target
    ]


def mim_loss(spec: MimSpec, predicted_BMO: Tensor, target_BN: Tensor, masked_BM: Tensor) -> Tensor:
    """L1 on features or pixels, cross-entropy on visual tokens, at the masked patches only.

    Args:
        target_BN: (B, N, O) features or pixels of every patch, or (B, N) codes.
    """
    if spec.target == "visual_tokens":
        return F.cross_entropy(predicted_BMO.flatten(0, 1).float(), target_BN.gather(1, masked_BM).flatten())
    return F.l1_loss(predicted_BMO.float(), standardised(spec, at(target_BN, masked_BM).detach()))


def standardised(spec: MimSpec, target: Tensor) -> Tensor:
    """Targets as they are predicted: each vector standardised where the spec asks for it; codes as they are."""
    if spec.target == "visual_tokens":
        return target
    target = target.float()
    if spec.normalise_target:
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    return target
