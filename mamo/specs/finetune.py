"""Downstream jobs: fine-tuning and evaluation of one task on one data set (paper appendix A)."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mamo.specs.base import Spec
from mamo.specs.optimisation import OptimiserSpec, ScheduleSpec
from mamo.specs.pretrain import DRAWN, SHUFFLED, Precision
from mamo.specs.source import chosen, given, own
from mamo.specs.transforms import TransformSpec


class JobSpec(Spec):
    """Settings of all downstream jobs."""

    ACTS_IN: ClassVar = "runs/make_finetuning.py"

    data: Annotated[tuple[str, ...], given("4.3, appendix A")] = Field(
        min_length=1, description="prepared data sets; the first one is evaluated"
    )
    transform: TransformSpec = Field(description="training transform; its size is the raised resolution")
    optimiser: OptimiserSpec = Field(description="AdamW with a linear schedule")
    schedule: ScheduleSpec = Field(description="0 epochs: the pre-trained model is evaluated as it is")
    batch_size: Annotated[int, given("4.3, appendix A")] = Field(gt=0)
    eval_batch_size: Annotated[
        int,
        own("for the memory of an evaluation", "tasks/evaluating.py"),
    ] = Field(128, gt=0)
    shuffle_block: Annotated[int, SHUFFLED] = Field(1, gt=0)
    validations: Annotated[int, chosen("X-VLM; for VQA and grounding ours")] = Field(
        10, ge=1, description="evaluations on val; the best of these weights are tested (1: the last)"
    )
    precision: Annotated[Precision, chosen("ours", "training/loop.py")] = "bf16"
    seed: Annotated[int, DRAWN] = 0


class AlignmentSpec(JobSpec):
    """Settings of the jobs that train ITC + ITM."""

    ACTS_IN: ClassVar = "tasks/alignment.py"

    itm_random: Annotated[float, chosen("ours")] = Field(
        0.0, ge=0, le=1, description="share of ITM's negatives drawn uniformly, not by similarity"
    )


class RetrievalSpec(AlignmentSpec):
    """ITC + ITM; ITC shortlist, re-ranked by ITM (appendix A)."""

    ACTS_IN: ClassVar = "tasks/retrieval.py"

    task: Literal["retrieval"] = "retrieval"
    shortlist: Annotated[int, given("appendix A")] = Field(
        256,
        gt=0,
        description="top-k candidates that ITM's score re-ranks; weights are chosen by mean recall on val (X-VLM)",
    )


class VqaSpec(JobSpec):
    """Answer generation by a cross-attention decoder over the fused sequence (section 4.3, appendix A)."""

    ACTS_IN: ClassVar = "tasks/vqa.py"

    task: Literal["vqa"] = "vqa"
    decoder_layers: Annotated[int, chosen("ours", "model/decoder.py")] = Field(
        6,
        gt=0,
        description="copies of the fusion encoder's; their cross-attention starts from its self-attention",
    )
    min_answer_count: Annotated[int, chosen("ViLT, METER", "data/releases/candidates.py")] = Field(
        9,
        ge=1,
        description="an answer given this often in train and val, normalised, is a candidate (3,129 in VQA v2)",
    )
    shortlist: Annotated[int, chosen("ALBEF, whose code counts it twice")] = Field(
        128,
        gt=0,
        description="candidates kept by their first token before the whole answer's log-probability ranks them",
    )
    extra_weight: Annotated[float, chosen("ALBEF", "runs/make_finetuning.py")] = Field(
        0.5, ge=0, description="weight of the Visual Genome pairs"
    )


class Nlvr2Spec(JobSpec):
    """Two image-text pairs, paired attention, true or false (appendix A)."""

    task: Literal["nlvr2"] = "nlvr2"


class GroundingSpec(AlignmentSpec):
    """ITC + ITM, then Grad-CAM of the ITM score over proposals (appendix A)."""

    ACTS_IN: ClassVar = "tasks/grounding.py"

    task: Literal["grounding"] = "grounding"
    layer: Annotated[int, given("appendix A")] = Field(
        4, ge=1, description="fusion layer whose attention is read, counted from 1 (appendix A)"
    )
    tokens: Annotated[Literal["words", "all"], chosen("ALBEF")] = Field(
        "all",
        description="text tokens whose maps are averaged: all real ones with [CLS] and [SEP] (ALBEF), or sub-words alone",
    )
    area_exponent: Annotated[float, chosen("ALBEF, whose code then keeps the last box", "tasks/boxes.py")] = (
        Field(0.5, ge=0, description="box score: heat inside / area ** exponent; no positive score is wrong")
    )
    iou: Annotated[float, chosen("ALBEF")] = Field(
        0.5, gt=0, le=1, description="a box this close to the truth is right"
    )


class LocalisationSpec(JobSpec):
    """Grad-CAM of the ITM score, a map for each word, against the boxes of the named objects; the embedded world only."""

    ACTS_IN: ClassVar = "tasks/localisation.py"
    COUNTS: ClassVar = ("object_words", "colour_words")  # metrics that count words instead of scoring them

    task: Literal["localisation"] = "localisation"
    layer: Annotated[int, chosen("ours")] = Field(
        4, ge=1, description="fusion layer whose attention is read, counted from 1, as in grounding"
    )


FinetuneSpec = Annotated[
    RetrievalSpec | VqaSpec | Nlvr2Spec | GroundingSpec | LocalisationSpec, Field(discriminator="task")
]
