"""The models that ship with the package: small, described, and as good as their cards say."""

from __future__ import annotations

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

GRID, OBJECTS = 3, (0.0, 0.0, 0.2, 0.35, 0.3, 0.15)  # as in scale demo


@pytest.mark.parametrize("name", bundled())
def test_a_packaged_model_is_small_and_says_what_it_saw(name: str) -> None:
    folder = bundle_folder(name)
    assert (folder / "model.safetensors").stat().st_size <= BUNDLE_LIMIT
    card, told = (folder / "README.md").read_text(), repr(mamo.load(name))
    assert f'mamo.load("{name}")' in card and (folder / "LICENSE.md").is_file()
    assert (
        "saw only generated scenes" in told
        and "scored Zero-shot Flickr30K: text R@1 61.6 [58.2, 64.9]" in told
    )
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
