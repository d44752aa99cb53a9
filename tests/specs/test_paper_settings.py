"""The paper's settings: each number of section 4.2 and appendix A, as the paper says it, beside the `paper` scale's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mamo.cost import parameters
from mamo.specs.plan import make_plan
from mamo.specs.scale import Scale, read_scale

ABLATIONS = Path(__file__).parents[2] / "ablations"
JOBS = ("retrieval_coco", "retrieval_flickr30k", "vqa", "nlvr2", "grounding")

# What the paper says -> setting of the scale -> its value.
SAID: list[tuple[str, dict[str, Any]]] = [
    # Section 4.1
    (
        "two web datasets, i.e., Conceptual Captions and SBU Captions, and two in-domain datasets, i.e., "
        "Visual Genome and MSCOCO Captions",
        {"pretrain.data": {"cc3m", "sbu", "visual_genome", "coco"}},
    ),
    # Section 3.1
    (
        "a pre-trained visual transformer, ViT-B/16",
        {
            "weights.vision.source": "timm",
            "weights.vision.name": "vit_base_patch16_224.augreg_in1k",
            "pretrain.model.patch_size": 16,
            "pretrain.model.width": 768,
            "pretrain.model.heads": 12,
            "pretrain.model.vision_layers": 12,
        },
    ),
    (
        "initialized with the first 6 layers and the last 6 layers of BERT_base",
        {
            "weights.text.source": "transformers",
            "weights.text.name": "bert-base-uncased",
            "pretrain.model.text_layers": 6,
            "pretrain.model.fusion_layers": 6,
        },
    ),
    # Section 4.2
    ("We pre-train our model for 30 epochs", {"pretrain.schedule.epochs": 30, "pretrain.schedule.steps_per_epoch": None}),
    ("using a batch size of 1536", {"pretrain.batch_size": 1536}),
    ("on 16 NVIDIA A100 GPUs", {"pretrain.objectives.itm_group": 1536 // 16}),
    ("the AdamW optimizer with a weight decay of 0.01", {"pretrain.optimiser.weight_decay": 0.01}),
    (
        "The learning rate is warmed-up to 1x10^-4 in the first 2500 iterations",
        {"pretrain.optimiser.lr": 1e-4, "pretrain.schedule.warmup_steps": 2500, "pretrain.schedule.warmup_share": None},
    ),
    ("and decayed to 1x10^-5 following a linear schedule", {"pretrain.optimiser.final_lr": 1e-5}),
    (
        "random image crops of resolution 224x224 as input",
        {"pretrain.model.image_size": 224, "pretrain.transform.size": 224},
    ),
    ("and also apply RandAugment", {"pretrain.transform.randaugment.n": 2, "pretrain.transform.randaugment.m": 7}),
    ("We keep 25% masking ratio on text modality", {"pretrain.masking.text_ratio": 0.25}),
    (
        "the replacements are 10% random tokens, 10% unchanged, and 80% [MASK] token",
        {"pretrain.masking.replace_random": 0.1, "pretrain.masking.replace_mask": 0.8},
    ),
    ("random masks on image patches with a masking ratio of 75%", {"pretrain.masking.image_ratio": 0.75}),
    (
        "during fine-tuning, we increase the image resolution to 384x384",
        {f"jobs.{job}.transform.size": 384 for job in JOBS},
    ),
    ("The momentum parameter alpha for updating the target network is set as 0.995", {"pretrain.target.momentum": 0.995}),
    # Equation 6: the plain sum of all five
    (
        "L = L_mrm + L_mim + L_mlm + L_itc + L_itm",
        {
            "pretrain.objectives.itc": True,
            "pretrain.objectives.itm": True,
            "pretrain.objectives.mlm": True,
            "pretrain.objectives.mim.target": "momentum_features",
            "pretrain.objectives.mrm.image": True,
            "pretrain.objectives.mrm.text": True,
        },
    ),
    # Section 4.3
    (
        "we directly use the pre-trained model and set the input resolution as the pre-training resolution",
        {"jobs.zero_shot_flickr30k.schedule.epochs": 0, "jobs.zero_shot_flickr30k.transform.size": 224},
    ),
    ("a 6-layer transformer decoder to auto-regressively generate answers", {"jobs.vqa.decoder_layers": 6}),
    # Appendix A
    (
        "For all downstream tasks, we use AdamW optimizer with a weight decay of 0.01 and a linear learning rate scheduler",
        {f"jobs.{job}.optimiser.weight_decay": 0.01 for job in JOBS},
    ),
    *(
        (
            "We fine-tune our model for 10 epochs with a batch size of 160 and an initial learning rate of 3x10^-5",
            {f"jobs.{job}.schedule.epochs": 10, f"jobs.{job}.batch_size": 160, f"jobs.{job}.optimiser.lr": 3e-5},
        )
        for job in ("retrieval_coco", "retrieval_flickr30k")
    ),
    (
        "the top-k (256 for MSCOCO, and 128 for Flickr30K) candidates using ITC scores",
        {
            "jobs.retrieval_coco.shortlist": 256,
            "jobs.retrieval_flickr30k.shortlist": 128,
            "jobs.zero_shot_flickr30k.shortlist": 128,
        },
    ),
    (
        "both train and validation sets in VQA2.0 dataset and the question-answer pairs from Visual Genome for training",
        {"jobs.vqa.data": {"vqa2", "visual_genome_qa"}},
    ),
    (
        "fine-tuning the VQA model for 10 epochs with a batch size of 192 and an initial learning rate of 5x10^-5",
        {"jobs.vqa.schedule.epochs": 10, "jobs.vqa.batch_size": 192, "jobs.vqa.optimiser.lr": 5e-5},
    ),
    ("only generate 3,129 candidate answers during inference", {"jobs.vqa.min_answer_count": 9}),
    (
        "the NLVR model for 10 epochs with a batch size of 80 and an initial learning rate of 3x10^-5",
        {"jobs.nlvr2.schedule.epochs": 10, "jobs.nlvr2.batch_size": 80, "jobs.nlvr2.optimiser.lr": 3e-5},
    ),
    (
        "ITC and ITM to train the model while removing random cropping",
        {"jobs.grounding.transform.crop_scale": None},
    ),
    (
        "the model for 5 epochs with a batch size of 160 and an initial learning rate of 2x10^-5",
        {"jobs.grounding.schedule.epochs": 5, "jobs.grounding.batch_size": 160, "jobs.grounding.optimiser.lr": 2e-5},
    ),
    ("heatmap on the 4th self-attention layer in the multimodal fusion encoder", {"jobs.grounding.layer": 4}),
]  # fmt: skip


@pytest.fixture(scope="module")
def paper() -> Scale:
    return read_scale("paper", ABLATIONS)


@pytest.mark.parametrize(("said", "settings"), SAID, ids=[said[:40] for said, _ in SAID])
def test_the_scale_is_what_the_paper_says(paper: Scale, said: str, settings: dict[str, Any]) -> None:
    values = paper.model_dump(mode="json")
    for dotted, stated in settings.items():
        actual: Any = values
        for part in dotted.split("."):
            actual = actual[part]
        assert (set(actual) if isinstance(stated, set) else actual) == stated, f'"{said}": {dotted}'


def test_linear_schedules_decay_to_nothing_in_fine_tuning(paper: Scale) -> None:
    for name in JOBS:
        job = paper.jobs[name]
        assert job.optimiser.final_lr == 0 and job.schedule.warmup_share == 0.1, name


def test_ablations_differ_in_what_their_tables_name_alone() -> None:
    """10 epochs for the ablations of section 4.5, 30 for Tables 1 to 4; nothing else of the settings moves."""
    plan = make_plan("paper", ABLATIONS)
    epochs = {run.spec["schedule"]["epochs"] for run in plan.by_kind("pretrain")}
    assert epochs == {10, 30}
    for name, table in plan.tables.items():
        ran = {
            plan.runs[key].spec["schedule"]["epochs"] for keys in table.pretrainings.values() for key in keys
        }
        assert ran == (
            {30} if name in ("table1", "table2", "table3", "table4") else {10} if ran else set()
        ), name
    moving = {"objectives", "schedule", "masking", "target"}
    first = plan.by_kind("pretrain")[0].spec
    for run in plan.by_kind("pretrain"):
        assert {key for key in first if run.spec[key] != first[key]} <= moving
        assert {k for k in first["schedule"] if run.spec["schedule"][k] != first["schedule"][k]} <= {"epochs"}


def test_parameters_that_the_paper_counts(paper: Scale) -> None:
    """ "BERT_base with 110.1M parameters and a ViT-B/16 with 85.9M": ours has no classifier, and none of BERT's heads."""
    model = paper.pretrain.model
    bert = parameters.embedding(model, parameters.BERT_VOCABULARY) + 12 * parameters.layer(model)
    # Pooler, next-sentence head, and the word predictor's transform with its norm and bias.
    heads = 768 * 769 + 2 * 769 + 768 * 769 + 2 * 768 + parameters.BERT_VOCABULARY
    assert bert + heads == 110_106_428
    rest = model.text_layers + model.fusion_layers
    network = parameters.network(model, parameters.BERT_VOCABULARY)
    fusion = 768 + 197 * 768
    alignment = 2 * 769 * 256 + 1 + 2 * 769
    vision = network - bert - fusion - alignment + (12 - rest) * parameters.layer(model)
    assert round(vision / 1e6, 1) == 85.8
