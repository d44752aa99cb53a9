"""The full description of one pre-training run (paper sections 3.2 and 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.model import ModelSpec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.source import chosen, given, own
from mamo.specs.transforms import TransformSpec

Precision = Literal["fp32", "bf16"]
MaskedUnit = Literal["subword", "whole_word", "span"]
MimTarget = Literal["momentum_features", "pixels", "visual_tokens"]
Normalise = Literal["none", "l2", "layer"]
Widths = tuple[int, int, int]  # of an MLP: input, hidden layer, output

# Settings added after results already existed. At the value given here a setting is left out of the digest, so earlier runs
# keep their identity.
ADDED_LATER: Mapping[str, Any] = {
    "masking.unit": "subword",
    "masking.span_words": 3.8,
    "objectives.distillation": None,
    "model.stem": None,
}


class Head(NamedTuple):
    """An MLP that an objective puts on the masked positions of fused representations.

    Model and cost estimate both read the shape from here, so that a plan can count a head without loading torch.
    """

    widths: Widths
    on_image: bool
    """It reads the masked patches of (masked image, text)."""
    on_text: bool
    """It reads the masked sub-words of (image, masked text)."""
    decoder_layers: int = 0
    """Transformer layers before the MLP, over all image tokens."""
    in_target: bool = False
    """The target network has a copy, which reads the same positions of the unmasked pair."""


SHUFFLED = own(
    "keeps look-alikes in one batch, and reading local where memory is small", "data/batches/sampler.py"
)
DRAWN = own("the draw of everything random; a table's seeds are counted from it", "training/loop.py")


class MaskingSpec(Spec):
    """Masking of images and texts (section 4.2)."""

    ACTS_IN: ClassVar = "objectives/masking.py"

    image_ratio: Annotated[float, given("4.2")] = Field(
        0.75, gt=0, lt=1, description="share of patches removed from the masked image, rounded (MAE)"
    )
    text_ratio: Annotated[float, given("4.2")] = Field(
        0.25,
        gt=0,
        lt=1,
        description="share of sub-words chosen in the masked text, rounded, at least one; never a special token",
    )
    replace_mask: Annotated[float, given("4.2")] = Field(
        0.8, ge=0, le=1, description="share of chosen sub-words that become [MASK]"
    )
    replace_random: Annotated[float, given("4.2")] = Field(
        0.1, ge=0, le=1, description="share that become a random sub-word"
    )
    unit: Annotated[MaskedUnit, chosen("ours; later BERT; SpanBERT")] = Field(
        "subword", description="what is chosen as a whole: sub-words (the paper), words, or runs of words"
    )
    span_words: Annotated[float, chosen("ours")] = Field(
        3.8,
        ge=1,
        description="mean words of a span, whose lengths are geometric; read only where unit is span",
    )


class MimSpec(Spec):
    """Masked image modelling (Eq. 2, Tables 8 and 9)."""

    ACTS_IN: ClassVar = "objectives/mim.py"

    target: Annotated[MimTarget, given("3.2.1, Eq. 2", "tasks/pretrain.py")] = Field(
        "momentum_features",
        description="what a masked patch predicts; features: after the norm, of the EMA image encoder on the whole image",
    )
    decoder_depth: Annotated[int, chosen("ours")] = Field(
        0, ge=0, description="transformer blocks before the MLP; 0: the MLP alone"
    )
    hidden_ratio: Annotated[float, chosen("ours")] = Field(
        1.0, gt=0, description="hidden width of the MLP, which has one such layer, over the model's width"
    )
    normalise_target: Annotated[bool, chosen("ours; MAE does so for pixels")] = Field(
        False, description="standardise each target vector (MAE does so for pixels)"
    )

    @property
    def predicts_features(self) -> bool:
        """True if the target network's image encoder makes the targets."""
        return self.target == "momentum_features"

    def head(self, model: ModelSpec, codes: int) -> Head:
        """Return the shape of the predictor h_mim.

        Args:
            codes: size of the codebook, read for visual tokens alone.
        """
        outputs: dict[MimTarget, int] = {
            "momentum_features": model.width,
            "pixels": 3 * model.patch_size**2,
            "visual_tokens": codes,
        }
        widths = (model.width, round(model.width * self.hidden_ratio), outputs[self.target])
        return Head(widths, on_image=True, on_text=False, decoder_layers=self.decoder_depth)


class MrmSpec(Spec):
    """Masked representation modelling (Eq. 1, Tables 6 and 7)."""

    ACTS_IN: ClassVar = "objectives/mrm.py"

    image: Annotated[bool, given("3.2.1, Eq. 1", "tasks/pretrain.py")] = Field(
        True, description="on the masked patches of (masked image, text)"
    )
    text: Annotated[bool, given("3.2.1, Eq. 1", "tasks/pretrain.py")] = Field(
        True, description="on the masked sub-words of (image, masked text)"
    )
    predictor: Annotated[bool, given("3.2.1", "tasks/pretrain.py")] = Field(
        True,
        description="the predictor h on the online side (Table 7); the target is projected by the EMA copy of g",
    )
    hidden_ratio: Annotated[float, chosen("ours")] = Field(
        1.0, gt=0, description="hidden width of g and h over the model's width"
    )
    projection_ratio: Annotated[float, chosen("ours")] = Field(
        1.0, gt=0, description="output width of g and h over the model's width"
    )
    normalise: Annotated[Normalise, chosen("Eq. 1; BYOL")] = Field(
        "none",
        description="vectors whose squared error is taken: as they are (the text), of unit length (BYOL; the error, summed "
        "over dimensions, is 2 - 2 cos), or standardised each (layer)",
    )

    @model_validator(mode="after")
    def _somewhere(self) -> MrmSpec:
        if not (self.image or self.text):
            raise ValueError("MRM on no modality: set objectives.mrm to null instead")
        return self

    def projector(self, model: ModelSpec) -> Head:
        """Return the shape of the projector g, which online and target network have one of each."""
        widths = (
            model.width,
            round(model.width * self.hidden_ratio),
            round(model.width * self.projection_ratio),
        )
        return Head(widths, self.image, self.text, in_target=True)

    def online_predictor(self, model: ModelSpec) -> Head | None:
        """Return the shape of the predictor h_mrm on the online side; None without (Table 7)."""
        _, hidden, projected = self.projector(model).widths
        return Head((projected, hidden, projected), self.image, self.text) if self.predictor else None


class DistillationSpec(Spec):
    """ALBEF's own extras, which MAMO does not use: momentum features in ITC, a queue of them, and soft targets."""

    ACTS_IN: ClassVar = "objectives/distillation.py"

    queue: Annotated[int, chosen("ALBEF, section 3")] = Field(
        65536, ge=0, description="pairs of earlier steps that ITC also contrasts; 0: none"
    )
    alpha: Annotated[float, chosen("ALBEF, section 3")] = Field(
        0.4, ge=0, lt=1, description="weight of the target network's soft targets in ITC and MLM"
    )
    ramp: Annotated[float, chosen("ALBEF, section 3")] = Field(
        0.0, ge=0, le=1, description="share of the run over which alpha rises from 0; ALBEF: an epoch"
    )


class LossWeights(Spec):
    """The weight of each loss in the sum; the paper's Eq. 6 adds them as they are."""

    ACTS_IN: ClassVar = "tasks/pretrain.py"

    itc: Annotated[float, given("Eq. 6")] = Field(1.0, gt=0)
    itm: Annotated[float, given("Eq. 6")] = Field(1.0, gt=0)
    mlm: Annotated[float, given("Eq. 6")] = Field(1.0, gt=0)
    mim: Annotated[float, given("Eq. 6")] = Field(1.0, gt=0)
    mrm: Annotated[float, given("Eq. 6")] = Field(1.0, gt=0)


class ObjectivesSpec(Spec):
    """The five losses and their sum (Eq. 6); null or false switches one off."""

    itc: Annotated[bool, given("3.2, Eq. 6", "objectives/itc.py")] = True
    itm: Annotated[bool, given("3.2, Eq. 6", "objectives/itm.py")] = True
    itm_group: Annotated[int, chosen("ALBEF draws per GPU", "objectives/itm.py")] = Field(
        96, gt=1, description="pairs among which ITM draws its negatives: one GPU's share (1536 / 16)"
    )
    itm_random: Annotated[float, chosen("ours", "objectives/itm.py")] = Field(
        0.0,
        ge=0,
        le=1,
        description="share of ITM's negatives drawn uniformly, not by similarity, at the start of the run",
    )
    itm_random_end: Annotated[float | None, chosen("ours", "specs/pretrain.py")] = Field(
        None, ge=0, le=1, description="that share from ``itm_random_by`` on; null: it stays as it is"
    )
    itm_random_by: Annotated[float, chosen("ours", "specs/pretrain.py")] = Field(
        0.5, gt=0, le=1, description="share of the run after which ``itm_random_end`` is reached, linearly"
    )
    mlm: Annotated[bool, given("3.2, Eq. 6", "objectives/mlm.py")] = True
    mim: MimSpec | None = Field(default_factory=MimSpec)
    mrm: MrmSpec | None = Field(default_factory=MrmSpec)
    distillation: DistillationSpec | None = Field(None, description="ALBEF's queue and soft targets")
    weights: LossWeights = Field(
        default_factory=LossWeights, description="of each loss in the sum (Eq. 6: 1)"
    )

    @model_validator(mode="after")
    def _something(self) -> ObjectivesSpec:
        if not (self.itc or self.itm or self.mlm or self.mim or self.mrm):
            raise ValueError("every objective is switched off")
        if self.itm and not self.itc:
            raise ValueError("ITM takes its hard negatives from ITC's similarities: itm needs itc")
        if self.distillation and not self.itc:
            raise ValueError("distillation widens and softens ITC: it needs itc")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The losses that are switched on, in the order of their weights."""
        return tuple(name for name in LossWeights.model_fields if getattr(self, name))

    @property
    def masks_image(self) -> bool:
        """True if an objective reads the masked view (masked image, text)."""
        return self.mim is not None or (self.mrm is not None and self.mrm.image)

    @property
    def masks_text(self) -> bool:
        """True if an objective reads the masked view (image, masked text)."""
        return self.mlm or (self.mrm is not None and self.mrm.text)

    @property
    def predicts_fused(self) -> bool:
        """True if an objective predicts the target network's fused representation of the unmasked pair."""
        return self.mrm is not None

    def heads(self, model: ModelSpec, codes: int) -> tuple[Head, ...]:
        """Return the shapes of all MLPs on masked positions; MLM's linear predictor shares BERT's word embeddings."""
        heads = [self.mim.head(model, codes)] if self.mim else []
        if self.mrm:
            predictor = self.mrm.online_predictor(model)
            heads += [self.mrm.projector(model)] + ([predictor] if predictor else [])
        return tuple(heads)

    def random_negatives(self, progress: float) -> float:
        """Return the share of ITM's negatives drawn uniformly after a share ``progress`` of the run."""
        if self.itm_random_end is None:
            return self.itm_random
        way = min(1.0, progress / self.itm_random_by)
        return self.itm_random + (self.itm_random_end - self.itm_random) * way


class TargetSpec(Spec):
    """The target network (section 3.2.1)."""

    ACTS_IN: ClassVar = "specs/pretrain.py"

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
