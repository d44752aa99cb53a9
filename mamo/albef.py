"""ALBEF's extras (Li et al., Align before Fuse, 2021, section 3) on top of :mod:`mamo.method`, as plainly.

ITC contrasts online features with momentum features, of this batch and of a queue of earlier ones, and ITC and MLM also learn
from the target network's own predictions. MAMO does without; the baseline that follows ALBEF can have them
(`ablations/albef_extras.yaml`).

Shapes: B pairs, C candidates (pairs of the batch and of the queue), E width of ITC's projections.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from mamo.method import PlainStep, Views, encode_image, encode_text, fuse, unit
from mamo.objectives.distillation import Pair, soft_share
from mamo.tasks.pretrain import PretrainTask


class AlbefStep(PlainStep):
    """The step of a spec with ``objectives.distillation``."""

    def __init__(self, task: PretrainTask) -> None:
        super().__init__(task)
        assert self.objectives.distillation is not None and task.target is not None
        self.distillation, self.momentum = self.objectives.distillation, task.target.network

    def itc(self, views: Views) -> Tensor:
        """Contrast the batch with momentum features (ALBEF, Eqs. 1 and 6)."""
        queue, step = self.task.queue, views.batch["step"]
        with torch.no_grad():
            f = self.momentum
            momentum = Pair(*unit(f, encode_image(f, views.image), encode_text(f, views.ids, views.mask)))
        images_CE, texts_CE = momentum
        if queue is not None:
            earlier = queue.read(step, len(images_CE))
            images_CE = torch.cat([images_CE, earlier.image])
            texts_CE = torch.cat([texts_CE, earlier.text])
            queue.write(step, momentum)
        image_BE, text_BE = unit(self.f, views.visual, views.text)
        to_texts = self.contrast(image_BE, momentum.image, texts_CE, views)
        return (to_texts + self.contrast(text_BE, momentum.text, images_CE, views)) / 2

    def contrast(self, online_BE: Tensor, momentum_BE: Tensor, candidates_CE: Tensor, views: Views) -> Tensor:
        """Compute InfoNCE in one direction, blended with the target network's own similarities."""
        scores = online_BE @ candidates_CE.T / self.f.temperature
        soft = (momentum_BE @ candidates_CE.T / self.f.temperature).softmax(1).detach()
        own = torch.arange(len(scores), device=scores.device)
        alpha = soft_share(self.distillation, views.batch["progress"])
        return (1 - alpha) * F.cross_entropy(scores, own) + alpha * F.cross_entropy(scores, soft)

    def mlm(self, views: Views) -> Tensor:
        """Name the original sub-words, and agree with what the target network says of the same masked text (ALBEF, Eq. 7)."""
        alpha, loss = soft_share(self.distillation, views.batch["progress"]), super().mlm(views)
        head, f = self.task.momentum_mlm_head, self.momentum
        if head is None:
            return loss
        with torch.no_grad():
            text = encode_text(f, views.masked_ids, views.mask)
            fused = fuse(f, encode_image(f, views.image), text, views.mask)[1]
            soft = head(fused[views.chosen]).float().softmax(-1)
        logits = self.mlm_logits(views)[views.chosen]
        return (1 - alpha) * loss + alpha * F.cross_entropy(logits, soft)
