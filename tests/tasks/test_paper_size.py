"""One real optimisation step at the paper's size, from weights in the official formats, on a CPU."""

from __future__ import annotations

import json
import math
import resource
from pathlib import Path
from typing import Any

import caption_releases as captions
import pytest
import yaml
from torch.utils.flop_counter import FlopCounterMode

from mamo.cost import parameters
from mamo.cost.flops import pretraining_pair
from mamo.specs.plan import Plan, make_plan
from mamo.specs.pretrain import PretrainSpec

ABLATIONS = Path(__file__).parents[2] / "ablations"
PAIRS = 2
TEXTS = ["a dog on the grass beside a red ball", "two people look at the sea and at a boat on it"]


def write_vit(folder: Path) -> None:
    """A ViT-B/16 with random weights, as timm saves it."""
    import timm
    from safetensors.torch import save_file

    folder.mkdir()
    model = timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=1000)
    save_file(model.state_dict(), folder / "model.safetensors")


def write_bert(folder: Path) -> None:
    """BERT-base with its pre-training heads and random weights, as transformers saves it, with its whole vocabulary's size."""
    from transformers import BertConfig, BertForPreTraining, BertTokenizerFast

    config = BertConfig()
    assert config.vocab_size == parameters.BERT_VOCABULARY
    BertForPreTraining(config).save_pretrained(folder)
    words = sorted({word for text in TEXTS for word in text.split()})
    listed = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    listed += [f"[unused{i}]" for i in range(config.vocab_size - len(listed))]
    BertTokenizerFast(vocab={word: i for i, word in enumerate(listed)}).save_pretrained(folder)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path, Path]:
    """The paper's scale with a batch of two, on Flickr30K alone and on local weights."""
    folder = tmp_path_factory.mktemp("paper")
    write_vit(folder / "vit")
    write_bert(folder / "bert")
    (folder / "ablations/scales").mkdir(parents=True)
    scale = {
        "extends": "paper",
        "ablations": ["step"],
        "figures": [],
        "data": {"datasets": {"flickr30k": {"store_size": 384, "missing_limit": 0.0}}},
        "weights": {"vision": {"name": str(folder / "vit")}, "text": {"name": str(folder / "bert")}},
        "pretrain": {
            "data": ["flickr30k"],
            "batch_size": PAIRS,
            "objectives": {"itm_group": PAIRS},
            "schedule": {"epochs": 1},
            "precision": "fp32",  # as many operations; many processors emulate bf16, ten times as slowly
        },
    }
    (folder / "ablations/scales/step.yaml").write_text(yaml.safe_dump(scale))
    paper = (ABLATIONS / "scales/paper.yaml").read_text()
    (folder / "ablations/scales/paper.yaml").write_text(paper)
    table = {
        "title": "t",
        "question": "q",
        "hypothesis": "h",
        "cost": "c",
        "rows": [{"key": "mamo", "label": "MAMO"}],
    }
    table["columns"] = [{"key": "tr", "label": "TR", "job": "zero_shot_flickr30k", "metric": "tr_r1"}]
    (folder / "ablations/step.yaml").write_text(yaml.safe_dump(table))
    release = folder / "releases/flickr30k"
    (release / "flickr30k-images").mkdir(parents=True)
    content = captions.karpathy([(f"{i}.jpg", "train", [text]) for i, text in enumerate(TEXTS)])
    (release / "dataset_flickr30k.json").write_text(json.dumps(content))
    for i in range(PAIRS):
        (release / f"flickr30k-images/{i}.jpg").write_bytes(captions.jpeg(i * 90))
    return make_plan("step", folder / "ablations"), folder / "results", folder / "releases"


@pytest.mark.slow
def test_one_step_at_the_papers_size(
    planned: tuple[Plan, Path, Path],
    record_property: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from mamo.runs.execute import execute
    from mamo.training.health import Health

    # The looks at a run's health are not counted: they are of other pairs, and have tests of their own.
    monkeypatch.setattr(Health, "measure", lambda self, step: None)
    plan, results, releases = planned
    run = plan.by_kind("pretrain")[0]
    spec = PretrainSpec.model_validate(run.spec)
    paper = make_plan("paper", ABLATIONS).find("pretrain", "mamo").spec
    assert {key for key in paper if paper[key] != run.spec[key]} == {
        "data",
        "batch_size",
        "objectives",
        "schedule",
        "precision",
    }
    for key in run.inputs.values():
        execute(plan, plan.runs[key], results, releases)
    with FlopCounterMode(display=False) as counter:
        record = execute(plan, run, results, releases)
    assert record.converged and record.details["steps"] == 1
    parts = {name: record.metrics[f"train/{name}"] for name in ("itc", "itm", "mlm", "mim", "mrm")}
    assert all(math.isfinite(value) and value > 0 for value in parts.values()), parts
    assert record.metrics["train/loss"] == pytest.approx(sum(parts.values()), rel=1e-4)
    assert parts["mlm"] == pytest.approx(
        math.log(parameters.BERT_VOCABULARY), rel=0.2
    )  # nothing is learnt yet

    # The words of the longer text with [CLS] and [SEP]; a quarter of each text's is masked.
    lengths = [len(text.split()) for text in TEXTS]
    counts = [round(length * spec.masking.text_ratio) for length in lengths]
    chosen, words = sum(counts) / PAIRS, max(lengths) + 2
    pair = pretraining_pair(spec, parameters.BERT_VOCABULARY, words, chosen, PAIRS, PAIRS, max(counts))
    assert PAIRS * pair == pytest.approx(counter.get_total_flops(), rel=0.02)

    trained, target = parameters.pretraining(spec, parameters.BERT_VOCABULARY)
    weights = (run.directory(results) / "model.safetensors").stat().st_size
    assert weights == pytest.approx(4 * (trained + target), rel=0.001)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = f"{counter.get_total_flops() / 1e12:.2f} TFLOP, {trained / 1e6:.1f}M trained parameters"
    told += f", {target / 1e6:.1f}M in the target network; {memory:.1f} GiB at most"
    with capsys.disabled():
        print(f"\n  one step of {PAIRS} pairs at the paper's size: {told}")
    record_property("peak_gib", memory)
    # Weights, gradients, AdamW's two moments and the target, and copies of them while they are written.
    assert memory < 12
