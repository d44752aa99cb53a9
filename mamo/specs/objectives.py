"""The five losses and their sum (paper section 3.2), and the shapes of the MLPs that they put on masked positions."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from mamo.specs.base import Spec
from mamo.specs.model import ModelSpec
from mamo.specs.source import chosen, given

MimTarget = Literal["momentum_features", "pixels", "visual_tokens"]
Normalise = Literal["none", "l2", "layer"]
Widths = tuple[int, int, int]  # of an MLP: input, hidden layer, output


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
    itm_random_end: Annotated[float | None, chosen("ours", "specs/objectives.py")] = Field(
        None, ge=0, le=1, description="that share from ``itm_random_by`` on; null: it stays as it is"
    )
    itm_random_by: Annotated[float, chosen("ours", "specs/objectives.py")] = Field(
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
