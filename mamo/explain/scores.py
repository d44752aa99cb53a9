"""The scores that Grad-CAM differentiates: one value per sample, from the fused representations.

Shapes: B samples, N patches, L sub-words of a text, T sub-words of an answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mamo.model.decoder import AnswerDecoder, context_of
from mamo.model.fusion import Fused
from mamo.model.mamo import Mamo
from mamo.objectives.mrm import mrm_loss
from mamo.tasks.pretrain import PretrainTask

ScoreFunction = Callable[[Fused], Tensor]


def itm_score(network: Mamo) -> ScoreFunction:
    """Return the "matched" logit of ITM: what grounding and the per-word figures differentiate (appendix A)."""
    return lambda fused: network.itm_logits(fused)[:, 1]


def mrm_score(
    task: PretrainTask, target: Fused, words_BL: Tensor | None = None, patches_BN: Tensor | None = None
) -> ScoreFunction:
    """Return the negative MRM loss of each sample at its masked positions: "minimising the MRM loss" (section 4.6).

    Args:
        target: the target network's representations of the unmasked pair.
        words_BL: True at masked sub-words; or
        patches_BN: True at masked patches.

    Raises:
        ValueError: the model was pre-trained without MRM, or not exactly one of the two is given.
    """
    if task.target is None or task.target.projector is None or task.online.projector is None:
        raise ValueError("the model was pre-trained without MRM, so it has no MRM loss to explain")
    if (words_BL is None) == (patches_BN is None):
        raise ValueError("the MRM loss is explained for masked words or for masked patches, one at a time")
    online, predictor, following = task.online.projector, task.predictor, task.target.projector
    assert predictor is not None, "a task with a projector has a predictor"
    assert task.spec.objectives.mrm is not None, "a task with a projector has MRM"
    normalise = task.spec.objectives.mrm.normalise

    def score(fused: Fused) -> Tensor:
        if words_BL is not None:
            ours, theirs, chosen = fused.text, target.text, words_BL
        else:
            assert patches_BN is not None
            ours, theirs, chosen = fused.image[:, 1:], target.image[:, 1:], patches_BN
        predicted, goal = predictor(online(ours)), following(theirs)
        # The training loss itself, one sample at a time.
        losses = [
            mrm_loss(predicted[item][places], goal[item][places], normalise=normalise)
            for item, places in enumerate(chosen)
        ]
        return -torch.stack(losses)

    return score


def answer_score(
    decoder: AnswerDecoder, ids_BT: Tensor, answer_mask_BT: Tensor, mask_BL: Tensor
) -> ScoreFunction:
    """Return the log-probability of one answer to each question (Fig. 8).

    Args:
        ids_BT: sub-words of the answers, closed by [SEP], without [CLS].
        answer_mask_BT: 1 at their sub-words, 0 at padding.
        mask_BL: 1 at the question's tokens.
    """
    return lambda fused: decoder(ids_BT[:, None], answer_mask_BT[:, None], context_of(fused, mask_BL))[:, 0]
