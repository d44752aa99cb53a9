"""Trained models are read back from their runs' folders as they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import tiny
import torch
from trained import finish

from mamo.runs.load import load_pretrained
from mamo.runs.run import Context
from mamo.runs.save import save_network_config, save_tensors
from mamo.specs.plan import make_plan
from mamo.specs.pretrain import PretrainSpec
from mamo.tasks.pretrain import PretrainTask

ABLATIONS = Path(__file__).parents[2] / "ablations"


def test_a_pretraining_whose_target_follows_by_a_horizon_is_loaded(tmp_path: Path) -> None:
    """The target's momentum depends on the number of steps, which the record has."""
    ablations, results = Path(shutil.copytree(ABLATIONS, tmp_path / "ablations")), tmp_path / "results/mine"
    scale = "extends: smoke\ntitle: mine\ncost: none\npretrain: {target: {momentum: null, horizon: 0.1}}\n"
    (ablations / "scales/mine.yaml").write_text(scale, encoding="utf-8")
    plan = make_plan("mine", ablations)
    run = plan.find("pretrain", "mamo")
    words = tiny.tokenizer(finish(plan.runs[run.inputs["text"]], results))
    task = PretrainTask(tiny.network(words, seed=3), PretrainSpec.model_validate(run.spec), words, steps=50)
    directory = finish(run, results, details={"steps": 50})
    save_tensors(task.state_dict(), directory / "model.safetensors")
    save_network_config(task.network, directory)
    loaded, _ = load_pretrained(Context(plan, run, results, None))
    assert 0 < loaded.momentum < 1 and loaded.momentum == task.momentum
    stored = task.state_dict()
    assert all(torch.equal(stored[name], tensor) for name, tensor in loaded.state_dict().items())
