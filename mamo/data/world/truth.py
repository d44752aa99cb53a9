"""Find the objects that the words of a text name in a scene of the world, with their boxes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mamo.data.world.kinds import KINDS, TINTS

_NAMES = {tuple(name.split()): kind.name for kind in KINDS for name, _ in kind.names}
_LONGEST = max(map(len, _NAMES))


@dataclass(frozen=True)
class Named:
    """Words that name one object of the image beyond doubt.

    Attributes:
        words: their places in the list of words.
        what: whether they name the object by its kind or by its colour.
        box: x0, y0, x1, y1 as shares of the image's width and height.
    """

    words: tuple[int, ...]
    what: Literal["object", "colour"]
    box: tuple[float, float, float, float]


class SceneTruth:
    """The scene graphs of one data set's images.

    Args:
        release: the ``release`` folder of a ``world`` run.
        dataset: ``coco``, ``flickr30k`` or ``refcoco_plus``, as in ``world/scenes.jsonl``; None: all images.

    Raises:
        FileNotFoundError: the release holds no scene graphs.
    """

    def __init__(self, release: Path, dataset: str | None = None) -> None:
        self.release = release
        self._scenes: dict[str, dict[str, Any]] = {}
        with (release / "world" / "scenes.jsonl").open(encoding="utf-8") as file:
            for line in file:
                scene = json.loads(line)
                if dataset is None or scene["dataset"] == dataset:
                    self._scenes[scene["key"]] = scene

    def __contains__(self, key: str) -> bool:
        return key in self._scenes

    def file(self, key: str) -> Path | None:
        """Return the image as it was rendered; None if it is in a tar file."""
        path = self.release / str(self._scenes[key]["file"])
        return path if path.suffix == ".jpg" and path.is_file() else None

    def objects(self, key: str) -> list[dict[str, Any]]:
        """Return the kind, tint, size and ``box`` (corners, as shares) of every object of an image."""
        scene = self._scenes[key]
        return [thing | {"box": _corners(thing["box"], scene)} for thing in scene["objects"]]

    def named(self, words: Sequence[str], key: str) -> list[Named]:
        """Find the objects that the words of a caption name in an image.

        A noun in the singular names an object where the image shows no second one of its kind; a colour, where it shows no
        second one of that colour. Other words, and nouns that leave a choice, name nothing here.
        """
        objects = self.objects(key)
        lower = [word.lower() for word in words]
        named: list[Named] = []
        start = 0
        while start < len(lower):
            length, what, fitting = 1, "object", list[Mapping[str, Any]]()
            for size in range(min(_LONGEST, len(lower) - start), 0, -1):
                kind = _NAMES.get(tuple(lower[start : start + size]))
                if kind is not None:
                    length, fitting = size, [thing for thing in objects if thing["kind"] == kind]
                    break
            else:
                if lower[start] in TINTS:
                    what, fitting = "colour", [t for t in objects if t["tint"] == lower[start]]
            if len(fitting) == 1:
                places = tuple(range(start, start + length))
                named.append(Named(places, "colour" if what == "colour" else "object", fitting[0]["box"]))
            start += length
        return named


def _corners(box: Sequence[float], scene: Mapping[str, Any]) -> tuple[float, float, float, float]:
    x, y, w, h = box
    width, height = scene["width"], scene["height"]
    return x / width, y / height, (x + w) / width, (y + h) / height
