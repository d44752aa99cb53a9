"""How a run ended, and the watch that ends a diverging one early."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from mamo.specs.pretrain import CollapseSpec


class Outcome(NamedTuple):
    """``converged``; ``diverged``, a result that tables show as x; or ``skipped``, since its pre-training diverged."""

    status: Literal["converged", "diverged", "skipped"]
    reason: str = ""


class Watch:
    """Sees each step's loss and spread of projected features, and says when a run has diverged."""

    def __init__(self, spec: CollapseSpec | None) -> None:
        self.spec = spec
        self.low = 0

    def see(self, step: int, values: dict[str, float]) -> Outcome | None:
        """The outcome that ends the run, or None to go on."""
        if not math.isfinite(values["loss"]):
            parts = ", ".join(
                f"{name} {value:g}" for name, value in values.items() if not math.isfinite(value)
            )
            return Outcome("diverged", f"the loss is not finite at step {step} ({parts})")
        spread = values.get("spread", math.inf)
        if self.spec is not None:
            self.low = self.low + 1 if spread < self.spec.min_std else 0
            if self.low >= self.spec.patience:
                return Outcome(
                    "diverged",
                    f"the representation has collapsed at step {step}: its standard deviation over positions stayed below "
                    f"{self.spec.min_std:g} for {self.low} steps",
                )
        return None
