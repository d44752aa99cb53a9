"""The protocol of the study names the runs that the files plan, so that no setting changes unseen."""

from __future__ import annotations

import re
from pathlib import Path

from mamo.specs.plan import make_plan
from mamo.specs.scale import read_scale

ROOT = Path(__file__).resolve().parents[2]


def test_the_protocol_counts_and_names_the_runs_of_the_study() -> None:
    scale = read_scale("study", ROOT / "ablations")
    assert scale.protocol is not None
    text = (ROOT / scale.protocol).read_text()
    plan = make_plan("study", ROOT / "ablations")
    named = re.findall(r"pretrain/[\w-]+-[0-9a-f]{10}", text)
    assert len(named) == 2 and set(named) <= set(plan.runs)
    pretrainings, jobs = len(plan.by_kind("pretrain")), len(plan.by_kind("finetune"))
    assert f"all {pretrainings} pre-trainings and {jobs} downstream runs" in text


def test_a_scale_does_not_take_over_the_protocol_of_another(tmp_path: Path) -> None:
    (tmp_path / "scales").mkdir()
    for name in ("paper", "demo", "study"):
        (tmp_path / "scales" / f"{name}.yaml").write_text(
            (ROOT / "ablations" / "scales" / f"{name}.yaml").read_text()
        )
    (tmp_path / "scales" / "own.yaml").write_text("extends: study\ntitle: One of my own\n")
    assert read_scale("study", tmp_path).protocol and read_scale("own", tmp_path).protocol is None
