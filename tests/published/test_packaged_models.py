"""The models that ship with the package: small, described, and as good as their cards say."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch

import mamo
from mamo.data.world.captions import gallery_captions
from mamo.data.world.grammar import FLICKR
from mamo.data.world.render import render
from mamo.data.world.scene import Scene, draw_scene, stream
from mamo.published.export import BUNDLE_LIMIT
from mamo.published.load import bundle_folder, bundled
from mamo.specs.world import WorldSpec

PHOTOGRAPHS = Path(mamo.__file__).parent / "figures" / "photographs"
SAID = {
    "demo": ("saw only generated scenes", "scored Zero-shot Flickr30K: text R@1 61.6 [58.2, 64.9]"),
    "photos": (
        "saw flickr8k",
        "scored Retrieval Flickr8k: text R@1 12.8 [10.7, 14.8], image R@1 9.4 [8.2, 10.5]",
    ),
}
GRID, OBJECTS = 3, (0.0, 0.0, 0.2, 0.35, 0.3, 0.15)  # as in scale demo


@pytest.mark.parametrize("name", bundled())
def test_a_packaged_model_is_small_and_says_what_it_saw(name: str) -> None:
    folder = bundle_folder(name)
    assert (folder / "model.safetensors").stat().st_size <= BUNDLE_LIMIT
    card, told = (folder / "README.md").read_text(), repr(mamo.load(name))
    assert f'mamo.load("{name}")' in card and (folder / "LICENSE.md").is_file()
    assert all(words in told for words in SAID[name])
    assert max(map(len, told.splitlines())) < 130 and len(told.splitlines()) < 8, "it fits a notebook's cell"


def test_the_demo_model_finds_scenes_by_their_captions() -> None:
    """New scenes in the zero-shot job's voice: of 48, the right one is first far more often than in 1 of 48 cases."""
    kinds, rng = WorldSpec(grid=GRID, objects=OBJECTS).kinds, stream(7, "packaged")

    def draw(rng: Random, place: int) -> Scene:
        return draw_scene(rng, kinds, GRID, OBJECTS)

    scenes, captions = gallery_captions(rng, [draw(rng, place) for place in range(48)], FLICKR, draw)
    images = [render(scene, 64 * GRID, GRID) for scene in scenes]
    ranking = mamo.load("demo").rank(images, [own[0][0] for own in captions])
    first = (ranking.order[:, 0] == torch.arange(len(images))).float().mean()
    assert first > 0.5, f"{first:.0%} are found at once"


def test_the_model_of_photographs_matches_photos_of_another_source() -> None:
    """None of the five is of Flickr8k; by chance, one would be first."""
    said = {
        "astronaut": "a woman in an orange space suit smiles in front of a flag",
        "camera": "a man in a black coat looks through a camera on a field",
        "chelsea": "a brown cat with green eyes looks at the camera",
        "coffee": "a red cup of coffee on a wooden table",
        "rocket": "a white rocket stands on a launch pad",
    }
    images = [PHOTOGRAPHS / f"{name}.jpg" for name in said]
    model = mamo.load("photos")
    ranking = model.rank(images, list(said.values()))
    assert (ranking.order[:, 0] == torch.arange(5)).sum() >= 3
    assert "timm/tf_efficientnet_lite0.in1k" in (bundle_folder("photos") / "LICENSE.md").read_text()
    heat = model.explain(images[0], said["astronaut"])
    assert heat.words[1] == "woman" and heat["woman"].max() > 0
