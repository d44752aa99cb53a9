"""The target network of a run (paper section 3.2.1): how far its average reaches back."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.source import chosen, given


class TargetSpec(Spec):
    """The target network (section 3.2.1)."""

    ACTS_IN: ClassVar = "specs/target.py"

    momentum: Annotated[float | None, given("4.2", "model/target.py")] = Field(
        0.995,
        ge=0,
        lt=1,
        description="EMA momentum over all of f and g; 0: the online network of the last step; null: from ``horizon``",
    )
    horizon: Annotated[float | None, chosen("ours")] = Field(
        None,
        gt=0,
        lt=1,
        description="share of the run over which the average reaches back: momentum 1 - 1 / (horizon * steps). With the "
        "paper's number, a short run has a teacher that hardly leaves its start",
    )

    lag: Annotated[int, chosen("BYOL with momentum 0", "tasks/pretrain.py")] = Field(
        0,
        ge=0,
        le=1,
        description="updates by which a target without an average is late: 0, the online network as it is; 1, that of the step "
        "before",
    )
    mim_horizon: Annotated[float | None, chosen("ours")] = Field(
        None,
        gt=0,
        lt=1,
        description="horizon of an average of its own for the image encoder that MIM predicts; null: the target network's",
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> TargetSpec:
        if self.lag and self.momentum != 0:
            raise ValueError("lag is for a target without an average: it needs momentum 0")
        if (self.momentum is None) == (self.horizon is None):
            raise ValueError("give exactly one of momentum and horizon (set the other to null)")
        return self

    def momentum_of(self, steps: int) -> float:
        """Return the EMA momentum of a run of ``steps`` steps."""
        return self.momentum if self.momentum is not None else _momentum(self.horizon or 0.0, steps)

    def mim_momentum_of(self, steps: int) -> float | None:
        """Return the momentum of MIM's own image encoder, if it has one."""
        return None if self.mim_horizon is None else _momentum(self.mim_horizon, steps)


def _momentum(horizon: float, steps: int) -> float:
    return max(0.0, 1.0 - 1.0 / max(1.0, horizon * steps))
