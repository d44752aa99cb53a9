"""Downstream jobs: fine-tuning and evaluation of one task on one data set (paper appendix A)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mamo.specs.base import Spec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.pretrain import Precision
from mamo.specs.transforms import TransformSpec


class JobSpec(Spec):
    """Settings of all downstream jobs."""

    data: tuple[str, ...] = Field(min_length=1, description="prepared data sets; the first one is evaluated")
    transform: TransformSpec = Field(description="training transform; its size is the raised resolution")
    optimiser: OptimiserSpec = Field(description="AdamW with a linear schedule (appendix A)")
    schedule: ScheduleSpec = Field(description="0 epochs: the pre-trained model is evaluated as it is")
    batch_size: int = Field(gt=0)
    eval_batch_size: int = Field(128, gt=0)
    shuffle_block: int = Field(1, gt=0)
    validations: int = Field(
        10, ge=1, description="evaluations on val; the best weights are tested (1: the last)"
    )
    precision: Precision = "bf16"
    seed: int = 0


class AlignmentSpec(JobSpec):
    """Settings of the jobs that train ITC + ITM."""

    itm_random: float = Field(
        0.0, ge=0, le=1, description="share of ITM's negatives drawn uniformly, not by similarity"
    )


class RetrievalSpec(AlignmentSpec):
    """ITC + ITM; ITC shortlist, re-ranked by ITM (appendix A)."""

    task: Literal["retrieval"] = "retrieval"
    shortlist: int = Field(256, gt=0, description="top-k candidates that ITM re-ranks (appendix A)")


class VqaSpec(JobSpec):
    """Answer generation by a cross-attention decoder over the fused sequence (section 4.3, appendix A)."""

    task: Literal["vqa"] = "vqa"
    decoder_layers: int = Field(6, gt=0, description="initialised from the fusion encoder")
    min_answer_count: int = Field(
        9, ge=1, description="an answer given this often is a candidate (3,129 in VQA v2)"
    )
    shortlist: int = Field(
        128, gt=0, description="candidates kept by their first token before ranking (ALBEF)"
    )
    extra_weight: float = Field(0.5, ge=0, description="weight of the Visual Genome pairs (ALBEF)")


class Nlvr2Spec(JobSpec):
    """Two image-text pairs, paired attention, true or false (appendix A)."""

    task: Literal["nlvr2"] = "nlvr2"


class GroundingSpec(AlignmentSpec):
    """ITC + ITM, then Grad-CAM of the ITM score over proposals (appendix A)."""

    task: Literal["grounding"] = "grounding"
    layer: int = Field(
        4, ge=1, description="fusion layer whose attention is read, counted from 1 (appendix A)"
    )
    tokens: Literal["words", "all"] = Field(
        "all",
        description="text tokens whose maps are averaged: all real ones with [CLS] and [SEP] (ALBEF), or sub-words alone",
    )
    area_exponent: float = Field(0.5, ge=0, description="box score: heat inside / area ** exponent (ALBEF)")
    iou: float = Field(0.5, gt=0, le=1, description="a box this close to the truth is right")


class LocalisationSpec(JobSpec):
    """Grad-CAM of the ITM score, a map for each word, against the boxes of the named objects; the embedded world only."""

    task: Literal["localisation"] = "localisation"
    layer: int = Field(
        4, ge=1, description="fusion layer whose attention is read, counted from 1 (section 4.6)"
    )


FinetuneSpec = Annotated[
    RetrievalSpec | VqaSpec | Nlvr2Spec | GroundingSpec | LocalisationSpec, Field(discriminator="task")
]
