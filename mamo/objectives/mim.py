"""Masked image modelling (Eq. 2, Tables 8 and 9): the predictor, and its loss at the masked patches.

What a patch predicts is an entry of :mod:`mamo.objectives.mim_targets`.

Shapes: B pairs, T tokens, N patches, M masked patches of an image, D width, O width of a prediction.
"""

from __future__ import annotations

from torch import Tensor, nn

from mamo.model.transformer import PreNormLayer, initialise
from mamo.model.vision import gather_tokens
from mamo.objectives.collapse import relative_error
from mamo.objectives.mim_targets import TARGETS, at_masked
from mamo.specs.model import ModelSpec
from mamo.specs.objectives import MimSpec


class MimHead(nn.Module):
    """The predictor h_mim: an MLP with one hidden layer, behind ``decoder_depth`` transformer blocks if any.

    Args:
        codes: size of the codebook, read where visual tokens are predicted.
    """

    def __init__(self, spec: MimSpec, model: ModelSpec, codes: int) -> None:
        super().__init__()
        head = spec.head(model, codes)
        inputs, hidden, outputs = head.widths
        self.decoder = nn.ModuleList(
            PreNormLayer(model.width, model.heads, model.mlp_ratio) for _ in range(head.decoder_layers)
        )
        # Pre-norm blocks leave their sum unnormalised; without blocks, fused tokens come from a norm already.
        self.norm = nn.LayerNorm(model.width, eps=1e-6) if head.decoder_layers else nn.Identity()
        self.mlp = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
        initialise(self, model.width)

    @property
    def decodes(self) -> bool:
        """True if a decoder reads all image tokens, not only the masked ones."""
        return len(self.decoder) > 0

    def forward(self, fused_BTD: Tensor, masked_BM: Tensor) -> Tensor:
        """Predict the masked patches from fused image tokens: (B, M, O).

        Args:
            fused_BTD: the masked patches alone, (B, M, D); with decoder blocks all image tokens, class token first.
        """
        if not self.decodes:
            return self.mlp(fused_BTD)
        # Blocks attend over all tokens, so what is not masked is dropped behind them only.
        for layer in self.decoder:
            fused_BTD = layer(fused_BTD)
        return self.mlp(self.norm(gather_tokens(fused_BTD[:, 1:], masked_BM)))


def mim_loss(
    spec: MimSpec, predicted_BMO: Tensor, target_BN: Tensor, masked_BM: Tensor, share: float = 1.0
) -> Tensor:
    """Compute MIM's loss at the masked patches (Eq. 2).

    Args:
        target_BN: (B, N, O) features or pixels of every patch, or (B, N) codes.
        share: of the batch that these pairs are. Every image has M masked patches, so the means of micro-batches add up by
            their shares.
    """
    # Visible patches are left out: the network has seen them, and would only copy.
    target = at_masked(spec, target_BN, masked_BM)
    return TARGETS[spec.target].loss(predicted_BMO.float(), target) * share


def mim_error(
    spec: MimSpec, loss: Tensor, target_BN: Tensor, masked_BM: Tensor, share: float = 1.0
) -> Tensor | None:
    """Divide a loss by that of the batch's best constant (see :func:`relative_error`); None for codes.

    Args:
        loss: of these pairs, which are a ``share`` of the batch.
    """
    target = at_masked(spec, target_BN, masked_BM)
    return relative_error(loss / share, target.flatten(0, 1), 1) if target.ndim == 3 else None
