"""Train a small ViT to see what a convolutional network sees in photographs: the stand-in for ImageNet training.

Patch by patch, the encoder predicts the teacher's last map at the same place, and its class token the teacher's pooled features
(knowledge distillation from features: Romero et al., 2015). The teacher was trained on ImageNet's labels, and through it these
labels supervise the encoder; the photos themselves need none.

Shapes: B photos, M whole photos, S side of an image in pixels, N patches, P visible patches, C channels of the teacher's map, F
pooled features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mamo.model.teacher import Teacher
from mamo.model.vision import VisionEncoder
from mamo.specs.model import ModelSpec
from mamo.tasks.task import Task

LEAST_DEVIATION = 1e-3  # of a feature, so that one that never fires does not count for much


class PhotoDistillationTask(Task):
    """The image encoder with a linear predictor of the teacher's map and one of its pooled features.

    Args:
        sample_MNC: maps of whole photos, whose mean and deviation standardise the targets.
        logits: weight of the divergence from the teacher's classes.
    """

    map_mean: Tensor
    map_std: Tensor
    pooled_mean: Tensor
    pooled_std: Tensor

    def __init__(self, spec: ModelSpec, teacher: Teacher, sample_MNC: Tensor, logits: float = 0.0) -> None:
        super().__init__()
        self.vision = VisionEncoder(spec)
        self.map_head = nn.Linear(spec.width, teacher.channels)
        self.pooled_head = nn.Linear(spec.width, teacher.features)
        self.teacher = teacher
        self.logits = logits
        pooled = teacher.pooled(sample_MNC)
        self.register_buffer("map_mean", sample_MNC.mean((0, 1)))
        self.register_buffer("map_std", sample_MNC.std((0, 1)).clamp_min(LEAST_DEVIATION))
        self.register_buffer("pooled_mean", pooled.mean(0))
        self.register_buffer("pooled_std", pooled.std(0).clamp_min(LEAST_DEVIATION))

    def after_step(self) -> None:
        """Nothing follows a step."""

    def forward(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Compute the losses of a batch of image (B, 3, S, S), the teacher's map (B, N, C) and perhaps keep (B, P), the visible
        patches.

        Returns:
            ``loss``, and the mean squared errors ``map`` and ``pooled`` of standardised targets: 1 is what the mean over all
            photos reaches.
        """
        map_BNC, keep_BP = batch["map"], batch.get("keep")
        features = self.vision(batch["image"], keep_BP)
        pooled_BF = self.teacher.pooled(map_BNC)
        # Standardised, so that channels of large values do not decide the loss.
        target_BNC = (map_BNC - self.map_mean) / self.map_std
        if keep_BP is not None:
            # The encoder sees these patches alone, so it is asked about no others.
            target_BNC = target_BNC.gather(1, keep_BP[..., None].expand(-1, -1, target_BNC.shape[-1]))
        map_loss = F.mse_loss(self.map_head(features[:, 1:]).float(), target_BNC)
        predicted_BF = self.pooled_head(features[:, 0]).float()
        pooled_loss = F.mse_loss(predicted_BF, (pooled_BF - self.pooled_mean) / self.pooled_std)
        parts = {"loss": map_loss + pooled_loss, "map": map_loss, "pooled": pooled_loss}
        if self.logits:
            ours = self.teacher.logits(predicted_BF * self.pooled_std + self.pooled_mean).log_softmax(1)
            with torch.no_grad():
                theirs = self.teacher.logits(pooled_BF).log_softmax(1)
            parts["classes"] = F.kl_div(ours, theirs, log_target=True, reduction="batchmean")
            parts["loss"] = parts["loss"] + self.logits * parts["classes"]
        return parts
