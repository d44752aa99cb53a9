"""Optimiser and learning-rate schedule (paper section 4.2 and appendix A)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.source import chosen, given, own


class OptimiserSpec(Spec):
    """AdamW; weight decay spares biases and norms (X-VLM)."""

    ACTS_IN: ClassVar = "training/optimiser.py"

    lr: Annotated[float, given("4.2, appendix A")] = Field(1e-4, ge=0, description="peak learning rate")
    final_lr: Annotated[float, given("4.2")] = Field(
        1e-5, ge=0, description="learning rate at the last step; 0 in fine-tuning (X-VLM)"
    )
    weight_decay: Annotated[float, given("4.2")] = Field(0.01, ge=0, description="decoupled weight decay")
    betas: Annotated[tuple[float, float], chosen("X-VLM")] = Field((0.9, 0.98), description="AdamW betas")
    eps: Annotated[float, chosen("X-VLM")] = Field(1e-8, ge=0, description="AdamW epsilon")
    clip: Annotated[float | None, chosen("X-VLM", "training/loop.py")] = Field(
        1.0, gt=0, description="bound on the global gradient norm; null: none"
    )
    new_multiplier: Annotated[float, chosen("X-VLM")] = Field(
        2.0,
        ge=0,
        description="learning-rate factor of new parts: heads, projections, g, h, mask token, positions in fusion",
    )
    vision_multiplier: Annotated[
        float, own("for small models, which learn better with a slower image encoder; 1 at the paper's scale")
    ] = Field(1.0, ge=0, description="learning-rate factor of the image encoder")

    @model_validator(mode="after")
    def _betas(self) -> OptimiserSpec:
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas {list(self.betas)}: each must be at least 0 and below 1")
        return self


class ScheduleSpec(Spec):
    """Linear warm-up, then linear decay."""

    ACTS_IN: ClassVar = "specs/optimisation.py"

    epochs: Annotated[int, given("4.2, appendix A")] = Field(
        30, ge=0, description="passes over the pairs (section 4.2); 0: nothing is trained"
    )
    steps_per_epoch: Annotated[int | None, chosen("ours")] = Field(
        None, gt=0, description="steps that count as one epoch; null: pairs / batch"
    )
    warmup_steps: Annotated[int | None, given("4.2")] = Field(
        2500, ge=0, description="steps of linear warm-up"
    )
    warmup_share: Annotated[float | None, chosen("X-VLM")] = Field(
        None, ge=0, le=1, description="warm-up as a share of all steps"
    )

    @model_validator(mode="after")
    def _one_warmup(self) -> ScheduleSpec:
        if (self.warmup_steps is None) == (self.warmup_share is None):
            raise ValueError("give exactly one of warmup_steps and warmup_share (set the other to null)")
        return self

    def total_steps(self, examples: int, batch_size: int) -> int:
        """Optimiser steps of the whole schedule for a training set of ``examples``."""
        per_epoch = self.steps_per_epoch or max(1, -(-examples // batch_size))
        return self.epochs * per_epoch

    def warmup(self, total: int) -> int:
        """Return warm-up steps, never more than the schedule has."""
        steps = (
            self.warmup_steps if self.warmup_steps is not None else round((self.warmup_share or 0.0) * total)
        )
        return min(steps, total)
