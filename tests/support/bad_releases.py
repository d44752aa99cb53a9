"""Wrong releases: every file that a reader of ``mamo.data`` opens, wrong in one respect each."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bad_inputs import Case, account, compared, snapshot
from bad_release_archives import pickles, zips
from bad_release_photos import FOLDERS, images
from bad_release_tars import shards
from bad_release_texts import flickr8k, json_releases
from PIL import Image

SIZES = {
    "canvas": 64,
    "coco": {"train": 6, "restval": 1, "val": 2, "test": 3, "test2015": 2},
    "flickr30k": {"train": 3, "val": 1, "test": 2},
    "visual_genome": 4,
    "sbu": 4,
    "cc3m": 3,
    "nlvr2": {"train": 4, "dev": 4, "test": 4},
    "refcoco_plus": {"train": 3, "val": 2, "testA": 2, "testB": 2},
}
LIMIT = 0.7  # share of images that a wrong release may lose, so that one image is no refusal


def write_clean(root: Path) -> None:
    """All releases, tiny and without a fault: the embedded world, and Flickr8k beside it."""
    from mamo.data.world.generate import write_world
    from mamo.specs.world import WorldSpec

    write_world(WorldSpec.model_validate(SIZES), root)
    photos, text = root / "flickr8k/Flicker8k_Dataset", root / "flickr8k/Flickr8k_text"
    photos.mkdir(parents=True)
    text.mkdir()
    for number, name in enumerate(("a", "b", "c", "d")):
        Image.new("RGB", (40, 30), (60 * number, 9, 99)).save(photos / f"{name}.jpg")
    lines = [f"{name}.jpg#{i}\tA {name} number {i} .\n" for name in ("a", "b", "c", "d") for i in (0, 1)]
    (text / "Flickr8k.token.txt").write_text("".join(lines))
    for split, names in {"train": "a.jpg\nb.jpg\n", "dev": "c.jpg\n", "test": "d.jpg\n"}.items():
        (text / f"Flickr_8k.{split}Images.txt").write_text(names)


class Releases:
    """Prepares wrong releases, and compares them with the clean one."""

    def __init__(self, clean: Path, work: Path) -> None:
        self.clean, self.work = clean, work
        self._clean: dict[str, tuple[Any, Any]] = {}

    def _prepared(self, dataset: str, root: Path, out: Path, limit: float | None) -> tuple[Any, Any]:
        from mamo.data.store.prepare import prepare

        manifest = prepare(dataset, root, out, store_size=32, missing_limit=limit)
        return snapshot(out), account(manifest)

    def verdict(self, case: Case) -> str:
        """Read the wrong release; its exceptions go on to the caller."""
        if case.reader not in self._clean:
            out = self.work / f"clean-{case.reader}"
            self._clean[case.reader] = self._prepared(case.reader, self.clean, out, 0.0)
        root, out = self.work / "root", self.work / "out"
        for folder in (root, out):
            shutil.rmtree(folder, ignore_errors=True)
        for folder in FOLDERS[case.reader]:
            shutil.copytree(self.clean / folder, root / folder)
        case.mutate(root)
        limit = case.options.get("limit", LIMIT)
        return compared(case, self._clean[case.reader], self._prepared(case.reader, root, out, limit))


def cases() -> Iterator[Case]:
    """All wrong releases."""
    for make in (json_releases, images, flickr8k, shards, zips, pickles):
        yield from make()
