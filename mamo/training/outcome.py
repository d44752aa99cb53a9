"""Detect a diverging training."""

from __future__ import annotations

import copy
import math
from dataclasses import astuple

from mamo.files.record import Outcome
from mamo.specs.pretrain import CollapseSpec
from mamo.training.checkpoints import State

# Losses that must not rise. MIM's and MRM's are relative to the scale of their targets, which changes as features grow.
RISING = ("itc", "itm", "mlm", "error_mim", "error_mrm")


class DivergenceMonitor:
    """Decide from each step's values whether a run has diverged: its loss is not finite, or rises and stays high, or its
    representations collapse within items.

    Args:
        total: steps of the whole run.
    """

    def __init__(self, spec: CollapseSpec | None, total: int) -> None:
        self.spec, self.total = spec, total
        self._low: dict[str, int] = {}  # steps in a row below the least spread
        self._smooth: dict[str, float] = {}
        self._least: dict[str, float] = {}
        self._high: dict[str, int] = {}  # steps in a row above the rise
        self._seen = 0
        self.noticed: Outcome | None = None  # the first divergence, if training continues after it

    def observe(self, step: int, values: dict[str, float]) -> Outcome | None:
        """Return the outcome that ends the run, or None to continue."""
        if not math.isfinite(values["loss"]):
            parts = ", ".join(
                f"{name} {value:g}" for name, value in values.items() if not math.isfinite(value)
            )
            return Outcome("diverged", f"the loss is not finite at step {step} ({parts})")
        if self.spec is None:
            return None
        outcome = self._collapsed(self.spec, step, values) or self._risen(self.spec, step, values)
        if outcome is None or self.spec.stop:
            return outcome
        self.noticed = self.noticed or outcome
        return None

    def _collapsed(self, spec: CollapseSpec, step: int, values: dict[str, float]) -> Outcome | None:
        for name, value in values.items():
            if name.startswith("spread_"):
                self._low[name] = self._low.get(name, 0) + 1 if value < spec.min_spread else 0
                if self._low[name] >= spec.patience:
                    item = name.removeprefix("spread_")
                    return Outcome(
                        "diverged",
                        f"the representation has collapsed at step {step}: within each {item}, MRM's projections differ by "
                        f"less than {spec.min_spread:g} of their size for {self._low[name]} steps",
                    )
        return None

    def _risen(self, spec: CollapseSpec, step: int, values: dict[str, float]) -> Outcome | None:
        patience = max(spec.patience, round(spec.rise_patience * self.total))
        share = 1.0 / max(1.0, patience / 5)
        self._seen += 1
        for name in RISING:
            value = values.get(name, math.nan)
            if not math.isfinite(value):
                continue
            smooth = self._smooth[name] = self._smooth.get(name, value) + share * (
                value - self._smooth.get(name, value)
            )
            if self._seen <= patience / 5:
                continue  # too few values for an average
            least = self._least[name] = min(self._least.get(name, smooth), smooth)
            self._high[name] = self._high.get(name, 0) + 1 if smooth > spec.rise * least else 0
            if self._high[name] >= patience:
                part = name.removeprefix("error_")
                return Outcome(
                    "diverged",
                    f"the loss {part} has risen to {smooth / least:.1f} times its least value and stayed above "
                    f"{spec.rise:g} times for {patience} steps, at step {step}",
                )
        return None

    def state(self) -> State:
        """Return the state for a checkpoint, which holds plain values alone."""
        state = {name: value for name, value in vars(self).items() if name not in ("spec", "total")}
        return state | {"noticed": astuple(self.noticed) if self.noticed else None}

    def load(self, state: State) -> None:
        """Restore from a checkpoint; without a saved state, monitoring starts here."""
        vars(self).update(copy.deepcopy(state))
        self.noticed = Outcome(*state["noticed"]) if state.get("noticed") else None
