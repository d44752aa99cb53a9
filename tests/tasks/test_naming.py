"""The small ViT's lessons: which size the images of a step have, and what each patch is to name."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import tiny
from PIL import Image

from mamo.specs.transforms import TransformSpec
from mamo.tasks.naming import NOTHING, LabelledScene, Scenes, naming_batches


def _scenes(folder: Path) -> Scenes:
    """One black picture of 64 x 64 pixels; a thing of kind 2 and tint 1 fills its upper left quarter."""
    path = folder / "scene.jpg"
    Image.new("RGB", (64, 64)).save(path)
    box = np.array([[0, 0, 32, 32]], dtype=np.float32)
    return Scenes([LabelledScene(path, box, np.array([2]), np.array([1]))], kinds=3, tints=2)


def test_sizes_are_taken_in_turn_and_every_patch_names_what_lies_at_its_centre(tmp_path: Path) -> None:
    spec = tiny.model_spec()  # 32 pixels, patches of 8
    made = naming_batches(_scenes(tmp_path), spec, TransformSpec(size=32), 16, 0, 0, 4, (32, 48))
    whole = 0
    for batch, side in zip(made, (32, 48, 32, 48), strict=True):
        assert batch["image"].shape == (16, 3, side, side)
        grid = side // spec.patch_size
        quarter = np.full((grid, grid), NOTHING)
        quarter[: grid // 2, : grid // 2] = 2
        for labels in batch["kinds"].unflatten(1, (grid, grid)).numpy():
            whole += int((labels == quarter).all())  # half of the windows are the whole picture
            assert set(np.unique(labels)) <= {NOTHING, 2}
    assert whole >= 16


def test_the_models_own_size_is_met_where_no_other_is_named_and_any_step_can_be_the_first(
    tmp_path: Path,
) -> None:
    spec, scenes = tiny.model_spec(), _scenes(tmp_path)
    all_steps = list(naming_batches(scenes, spec, TransformSpec(size=32), 4, 0, 0, 3))
    assert [batch["image"].shape[-1] for batch in all_steps] == [32, 32, 32]
    resumed = next(islice(naming_batches(scenes, spec, TransformSpec(size=32), 4, 0, 2, 3), 1))
    assert (resumed["image"] == all_steps[2]["image"]).all()
