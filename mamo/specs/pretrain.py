"""The full description of one pre-training run (paper sections 3.2 and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.masking import MaskingSpec
from mamo.specs.model import ModelSpec
from mamo.specs.objectives import ObjectivesSpec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.source import chosen, given, own
from mamo.specs.target import TargetSpec
from mamo.specs.transforms import TransformSpec

Precision = Literal["fp32", "bf16"]

# Settings added after results already existed. At the value given here a setting is left out of the digest, so earlier runs
# keep their identity.
ADDED_LATER: Mapping[str, Any] = {
    "masking.unit": "subword",
    "masking.span_words": 3.8,
    "objectives.distillation": None,
    "model.stem": None,
}


SHUFFLED = own(
    "keeps look-alikes in one batch, and reading local where memory is small", "data/batches/sampler.py"
)
DRAWN = own("the draw of everything random; a table's seeds are counted from it", "training/loop.py")


class CollapseSpec(Spec):
    """Criteria for divergence, in addition to a loss that is not finite."""

    ACTS_IN: ClassVar = "training/outcome.py"

    min_spread: Annotated[float, chosen("ours")] = Field(
        0.01,
        ge=0,
        description="least deviation of MRM's projections within an image or a text, over their root mean square",
    )
    patience: Annotated[int, chosen("ours")] = Field(
        20,
        ge=1,
        description="steps in a row below it until the run counts as diverged; so many at least for a rise, too",
    )
    rise: Annotated[float, chosen("ours")] = Field(
        2.0,
        gt=1,
        description="a loss that stays above so many times its own least value has diverged; of MIM and MRM, their error over "
        "that of the batch's best constant",
    )
    rise_patience: Annotated[float, chosen("ours")] = Field(
        0.1,
        gt=0,
        le=1,
        description="share of the run for which it must stay there, and over a fifth of which it is smoothed",
    )
    stop: Annotated[bool, chosen("ours")] = Field(
        True,
        description="end a run that has diverged; false: train on, so that what follows from it can be measured",
    )


class PretrainSpec(Spec):
    """One pre-training run."""

    ACTS_IN: ClassVar = "runs/make_pretraining.py"

    data: Annotated[tuple[str, ...], given("4.1")] = Field(
        ("coco", "visual_genome", "sbu", "cc3m"), description="data sets, by name"
    )
    model: ModelSpec = Field(default_factory=ModelSpec)
    masking: MaskingSpec = Field(default_factory=MaskingSpec)
    objectives: ObjectivesSpec = Field(default_factory=ObjectivesSpec)
    target: TargetSpec = Field(default_factory=TargetSpec)
    optimiser: OptimiserSpec = Field(default_factory=OptimiserSpec)
    schedule: ScheduleSpec = Field(default_factory=ScheduleSpec)
    transform: TransformSpec = Field(default_factory=TransformSpec)
    collapse: CollapseSpec = Field(default_factory=CollapseSpec)
    batch_size: Annotated[int, given("4.2")] = Field(1536, gt=0, description="pairs over all ranks")
    shuffle_block: Annotated[int, SHUFFLED] = Field(
        1, gt=0, description="records that stay together when shuffled; 1: exact shuffle"
    )
    precision: Annotated[Precision, chosen("ours", "training/loop.py")] = "bf16"
    seed: Annotated[int, DRAWN] = 0

    @model_validator(mode="after")
    def _sizes_agree(self) -> PretrainSpec:
        if self.batch_size % self.objectives.itm_group:
            raise ValueError(
                f"batch_size {self.batch_size} is not a multiple of objectives.itm_group {self.objectives.itm_group}"
            )
        distillation = self.objectives.distillation
        if distillation and distillation.queue % self.batch_size:
            raise ValueError(
                f"objectives.distillation.queue {distillation.queue} is not a multiple of batch_size {self.batch_size}: it has "
                "whole batches"
            )
        if self.transform.size != self.model.image_size:
            raise ValueError(
                f"transform.size {self.transform.size} is not model.image_size {self.model.image_size}"
            )
        return self

    @property
    def needs_target(self) -> bool:
        """True if any objective reads the target network."""
        return self.predicts_features or self.objectives.distillation is not None

    @property
    def predicts_features(self) -> bool:
        """True if MRM or MIM predicts the target network's features of the unmasked pair."""
        mim = self.objectives.mim
        return self.objectives.predicts_fused or (mim is not None and mim.predicts_features)

    @property
    def needs_visual_tokens(self) -> bool:
        """True if the visual tokeniser's weights are an input of the run."""
        return self.objectives.mim is not None and self.objectives.mim.target == "visual_tokens"
