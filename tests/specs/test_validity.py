"""Test that what specs can know fails while planning, with the setting's name, and not after a pre-training."""

from __future__ import annotations

import importlib
import pkgutil
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import mamo.specs
from mamo.data.datasets import DATASETS
from mamo.data.releases.vqa_server import METRICS
from mamo.specs.base import Spec
from mamo.specs.finetune import FinetuneSpec
from mamo.specs.overrides import SpecError, merge
from mamo.specs.plan import make_plan
from mamo.specs.releases import RELEASES
from mamo.specs.validity import TASKS

ABLATIONS = Path(__file__).resolve().parents[2] / "ablations"
TABLE: dict[str, Any] = {
    "title": "T", "question": "Q", "hypothesis": "H", "cost": "C",
    "columns": [{"key": "tr", "label": "TR", "job": "retrieval_coco", "metric": "tr_r1"}],
    "rows": [{"key": "full", "label": "MAMO"}],
}  # fmt: skip
FIGURE: dict[str, Any] = {
    "title": "F", "caption": "C", "method": "words", "models": [{"key": "mamo", "label": "MAMO"}], "layer": 1,
}  # fmt: skip


def planned(
    tmp_path: Path, scale: Any = None, table: Any = None, figure: Any = None, set: Any = None
) -> None:
    """Plan a table of one row, with changes of the scale, the table, its figure or its row."""
    folder = tmp_path / "ablations"
    (folder / "scales").mkdir(parents=True)
    (folder / "figures").mkdir()
    for name in ("paper", "smoke"):
        shutil.copy(ABLATIONS / "scales" / f"{name}.yaml", folder / "scales")
    own = {"extends": "smoke", "ablations": ["own"], "figures": ["drawn"] if figure else []}
    (folder / "scales/own.yaml").write_text(yaml.safe_dump(merge(own, scale or {})))
    rows = [{"key": "full", "label": "MAMO", "set": set or {}}]
    (folder / "own.yaml").write_text(yaml.safe_dump(TABLE | {"rows": rows} | (table or {})))
    (folder / "figures/drawn.yaml").write_text(yaml.safe_dump(FIGURE | (figure or {})))
    make_plan("own", folder)


def column(job: str, metric: str) -> dict[str, Any]:
    return {"columns": [{"key": "c", "label": "C", "job": job, "metric": metric}]}


def job(name: str, **changes: Any) -> dict[str, Any]:
    return {"jobs": {name: changes}}


RETRIEVAL, GROUNDING = column("retrieval_coco", "tr_r1"), column("grounding", "val_accuracy")
VQA, LOCALISATION = column("vqa", "accuracy"), column("localisation", "object_share")
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a job's images that patches do not divide": (
        {"scale": job("retrieval_coco", transform={"size": 50})},
        "jobs.retrieval_coco.transform.size 50: cells of the world's board of 4 x 4 do not meet patches of 8 pixels",
    ),
    "a row's patches that do not divide a job's images": (
        {
            "set": {"model.patch_size": 48, "model.image_size": 96, "transform.size": 96},
            "scale": {"weights": {"vision": {"source": "timm", "name": "x"}}},
        },
        "jobs.retrieval_coco.transform.size: 64 is not a multiple of the model's patch_size 48",
    ),
    "no room for a word": ({"scale": {"pretrain": {"model": {"max_words": 2}}}}, "max_words: .*greater than or equal to 3"),
    "more words than positions": ({"set": {"model.max_words": 513}}, "max_words: .*less than or equal to 512"),
    "no fusion": ({"set": {"model.fusion_layers": 0}}, "fusion_layers: .*greater than or equal to 1"),
    "heads": ({"set": {"model.heads": 3}}, "width 32 is not a multiple of heads 3"),
    "dropout": ({"set": {"model.dropout": 1.0}}, "dropout: .*less than 1"),
    "temperature": ({"set": {"model.temperature": 0.9}}, "temperature 0.9 is not within temperature_range"),
    "a grounding layer that is the last": (
        {"table": GROUNDING, "scale": job("grounding", layer=2)},
        "jobs.grounding.layer: fusion layer 2 is the last one.*set it to one of 1 to 1",
    ),
    "a grounding layer that is not there": (
        {"table": GROUNDING, "scale": job("grounding", layer=3)},
        "jobs.grounding.layer: fusion layer 3 does not exist",
    ),
    "a column of the layer that the job reads anyway": (
        {"table": column("grounding", "val_accuracy_layer1"), "scale": job("grounding", layer=1)},
        "job 'grounding' records no metric 'val_accuracy_layer1'.*did you mean 'val_accuracy'",
    ),
    "a column of a layer without heat": (
        {"table": column("localisation", "object_share_layer2")},
        "job 'localisation' records no metric 'object_share_layer2'",
    ),
    "a localisation layer that is the last": (
        {"table": LOCALISATION, "scale": job("localisation", layer=2)},
        "jobs.localisation.layer: fusion layer 2 is the last one",
    ),
    "a row without a layer to ground with": (
        {"table": GROUNDING, "set": {"model.fusion_layers": 1, "model.text_layers": 2}},
        "jobs.grounding.layer: the model has one fusion layer",
    ),
    "localisation without boxes": (
        {"table": LOCALISATION, "scale": {"data": {"source": "release", "world": None},
         "weights": {"vision": {"source": "timm", "name": "x"}}}},
        "jobs.localisation: localisation needs the true boxes of the embedded world",
    ),  # fmt: skip
    "no negatives": (
        {"scale": job("retrieval_coco", batch_size=1)},
        "jobs.retrieval_coco.batch_size: ITM draws its negatives from the batch",
    ),
    "a job on data of another kind": (
        {"table": VQA, "scale": job("vqa", data=["coco"])},
        "jobs.vqa.data: vqa reads vqa, and coco has captions",
    ),
    "a job on data without a test": (
        {"scale": job("retrieval_coco", data=["sbu"])},
        "jobs.retrieval_coco.data: sbu has no split 'val' to evaluate on",
    ),
    "a job without data": ({"scale": job("retrieval_coco", data=[])}, "at least 1 item"),
    "pre-training on questions": ({"set": {"data": ["vqa2"]}}, "data: pre-training reads captions, and vqa2 has vqa"),
    "a data set that nothing reads": (
        {"scale": {"data": {"datasets": {"cocoa": {"store_size": 64}}}}},
        "data.datasets.cocoa: no such data set: did you mean 'coco'",
    ),
    "a limit of a split that is not there": (
        {"scale": {"data": {"datasets": {"coco": {"limits": {"dev": 3}}}}}},
        "data.datasets.coco.limits.dev: its splits are train, val, test",
    ),
    "a limit of nothing": (
        {"scale": {"data": {"datasets": {"coco": {"limits": {"val": 0}}}}}}, "limits.val: .*greater than or equal to 1"
    ),
    "twins among questions": (
        {"scale": {"data": {"datasets": {"vqa2": {"interleave": 2}}}}},
        "data.datasets.vqa2.interleave: is for captions",
    ),
    "a metric that its job does not record": (
        {"table": column("retrieval_coco", "tr_r2")},
        "column 'c': job 'retrieval_coco' records no metric 'tr_r2': did you mean",
    ),
    "starting weights of another shape": (
        {"set": {"model.width": 64}}, "model.width: 64, and the vision weights are trained with 32"
    ),
    "starting weights of other layers": (
        {"set": {"model.text_layers": 2}},
        "model.text_layers and model.fusion_layers: 4 together, and the text weights are trained with 3",
    ),
    "stand-ins at sizes that patches do not divide": (
        {"scale": {"weights": {"vision": {"image_sizes": [32, 50]}}}},
        "weights.vision.image_sizes.1. 50: cells of the world's board",
    ),
    "a head without a unit": (
        {"set": {"objectives.mrm.projection_ratio": 0.01}},
        "objectives.mrm.projection_ratio: 0.01 of model.width 32 leaves no unit",
    ),
    "a seed that the order cannot tell": (
        {"scale": job("retrieval_coco", seed=-1)}, "jobs.retrieval_coco.seed: -1 is not between 0 and"
    ),
    "a learning rate below 0": (
        {"scale": job("retrieval_coco", optimiser={"lr": -1.0e-3})}, "optimiser.lr: .*greater than or equal to 0"
    ),
    "a beta of 1": ({"scale": job("retrieval_coco", optimiser={"betas": [0.9, 1.0]})}, "betas .0.9, 1.0.: each must be"),
    "an overlap above 1": ({"table": GROUNDING, "scale": job("grounding", iou=50)}, "iou: .*less than or equal to 1"),
    "a figure's words in the last layer": ({"figure": {"layer": "last"}}, "drawn.yaml: layer: fusion layer 2 is the last"),
    "a figure's data of another kind": (
        {"figure": {"data": "nlvr2"}}, "drawn.yaml: data: method words shows captions, and nlvr2 has nlvr2"
    ),
    "a figure's split": ({"figure": {"split": "dev"}}, "drawn.yaml: split: coco has no 'dev'"),
    "a figure's job of another task": (
        {"figure": {"method": "answers", "data": "vqa2", "job": "nlvr2"}}, "drawn.yaml: job: method answers explains a job"
    ),
    "a figure of a loss that its model lacks": (
        {"figure": {"method": "masked_words",
                    "models": [{"key": "m", "label": "M", "set": {"objectives.mrm": None}}]}},
        "drawn.yaml: method masked_words explains the MRM loss",
    ),  # fmt: skip
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_end_well_is_not_planned(name: str, tmp_path: Path) -> None:
    changes, says = BAD[name]
    with pytest.raises(SpecError, match=says):
        planned(tmp_path, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"figure": {"method": "masked_words", "layer": "last"}},
        {"table": column("retrieval_coco", "chance/tr_r1")},
        {"table": column("vqa", "accuracy/yes/no")},
        {"table": column("retrieval_coco", "train/loss")},
        {"scale": job("zero_shot_flickr30k", batch_size=1), "table": column("zero_shot_flickr30k", "ir_r1")},
        {"set": {"model.text_layers": 2, "model.fusion_layers": 1}},
        {"set": {"model.image_size": 64, "transform.size": 64, "model.heads": 4, "model.max_words": 3}},
    ],
)
def test_what_works_is_planned(changes: dict[str, Any], tmp_path: Path) -> None:
    planned(tmp_path, **changes)


def test_planning_knows_the_data_sets_and_tasks_that_there_are() -> None:
    assert set(DATASETS) == set(RELEASES)
    kinds = get_args(get_args(FinetuneSpec)[0])
    assert set(TASKS) == set(kinds)
    vqa = next(task for kind, task in TASKS.items() if kind.__name__ == "VqaSpec")
    assert set(METRICS.values()) <= set(vqa.metrics)


def _specs(parent: type[Spec] = Spec) -> Iterator[type[Spec]]:
    for child in parent.__subclasses__():
        yield child
        yield from _specs(child)


def test_every_setting_is_read_somewhere() -> None:
    """A field that nothing reads any more is a promise of its description that is not kept."""
    for module in pkgutil.iter_modules(mamo.specs.__path__):
        importlib.import_module(f"mamo.specs.{module.name}")
    root = Path(mamo.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    read = set(re.findall(r"\.([a-z]\w*)\b", code)) | set(
        re.findall(r"[\[(, ][\"']([a-z]\w*)[\"'][\],) ]", code)
    )
    unread = {(spec.__name__, name) for spec in _specs() for name in spec.model_fields if name not in read}
    assert not unread
