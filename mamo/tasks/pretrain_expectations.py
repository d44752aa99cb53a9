"""Expectations of a pre-training step, for the checks of training."""

from __future__ import annotations

from torch import nn

from mamo.model.mamo import Mamo
from mamo.specs.objectives import ObjectivesSpec
from mamo.tasks.expectations import Average, StepExpectations


def pretraining_expectations(
    asked: ObjectivesSpec, network: Mamo, average: Average | None
) -> StepExpectations:
    """Expect every loss that is asked for, and no gradient where none of them reads.

    Args:
        average: the target network, where it is a moving average.
    """
    names = asked.names
    unread: list[nn.Module | nn.Parameter] = []
    if not asked.itc:
        unread += [network.vision_projection, network.text_projection, network.temperature]
    if not asked.itm:
        unread.append(network.itm_head)
    if not asked.masks_image:
        unread.append(network.fusion.mask_token)
    if names == ("itc",):  # the only loss that nothing is fused for
        unread.append(network.fusion)
    features = {"image": network.vision, "text": network.text}
    if asked.itc:
        # ITC reads the projections, so these are what must tell items apart.
        features = {"image": network.vision_projection, "text": network.text_projection}
    return StepExpectations(("loss", *names), tuple(unread), average, features)
