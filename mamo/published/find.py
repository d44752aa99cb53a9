"""Find a run that trained a model, by name."""

from __future__ import annotations

from mamo.specs.identity import Run
from mamo.specs.plan import Plan


def find_trained(plan: Plan, name: str) -> Run:
    """Find the pre-training or fine-tuning that a name or a run's directory stands for, by the rule of all commands.

    Raises:
        SpecError: none, or several; the message lists those that come near.
    """
    return plan.find(("pretrain", "finetune"), "/".join(name.rstrip("/").split("/")[-2:]))
