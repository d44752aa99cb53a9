"""Generated NLVR2: statements about pairs of images."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mamo.data.world.pairs import PAIRS, draw_groups
from mamo.data.world.releases.publisher import Publisher, compact
from mamo.data.world.render import png
from mamo.data.world.scene import stream

_DIRECTORIES = 100  # of training images
_POOL_LEAST = 48  # scenes, so that small sets find true and false pairs


def write_nlvr2(publisher: Publisher) -> None:
    """Write ``nlvr2/``: every sentence with four pairs of images, two of them true.

    As in the real set an image serves in several pairs; its copies are hard links where the disk allows it.
    """
    sizes = publisher.spec.nlvr2
    for split, number in {"train": sizes.train, "dev": sizes.dev, "test1": sizes.test}.items():
        _write_split(publisher, split, -(-number // PAIRS))


def _write_split(publisher: Publisher, split: str, groups: int) -> None:
    pool = publisher.scenes(f"nlvr2/{split}", max(_POOL_LEAST, 2 * groups))
    written: dict[int, Path] = {}
    lines = []
    for group, (statement, pairs) in enumerate(
        draw_groups(stream(publisher.spec.seed, "nlvr2", split), pool, groups)
    ):
        directory = {"directory": group % _DIRECTORIES} if split == "train" else {}
        folder = "/".join(["nlvr2/images", split, *map(str, directory.values())])
        for number, (left, right, truth) in enumerate(pairs):
            stem = f"{split}-{group}-{number}"
            for side, place in enumerate((left, right)):
                key = f"{stem}-img{side}"
                path = publisher.path(f"{folder}/{key}.png")
                if place in written:
                    _link(written[place], path)
                else:
                    path.write_bytes(png(publisher.draw(pool[place])))
                    written[place] = path
                publisher.note(pool[place], f"{folder}/{key}.png", key, "nlvr2", split.rstrip("1"))
            urls = {
                f"{side}_url": f"https://example.org/{split}/{at}.png"
                for side, at in (("left", left), ("right", right))
            }
            text = f"{statement.text[0].upper()}{statement.text[1:]}."
            line = {
                "identifier": f"{stem}-0",
                "sentence": text,
                "label": str(truth),
                "synset": statement.what.kind or "thing",
            }
            lines.append(compact(line | urls | directory))
    publisher.path(f"nlvr2/data/{split}.json").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without hard links
        shutil.copyfile(source, target)
