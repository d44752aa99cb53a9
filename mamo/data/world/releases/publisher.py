"""Shared by all releases: scenes from a set's own random stream, images and JSON on disk, a list of what each image shows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from PIL import Image

from mamo.data.world.render import box, jpeg, render
from mamo.data.world.scene import Scene, draw_scene, draw_twin, stream
from mamo.specs.world import WorldSpec

ReportProgress = Callable[[str, int], None]  # name of the data set, images written so far in all


class Publisher:
    """Write below one root folder; a context manager, since the list of scenes stays open.

    ``world/scenes.jsonl`` gets a line per image: data set, split, key (the image's key in the prepared form), file (or tar),
    width, height, background, and the objects with kind, tint, size, row, column and box (x, y, width, height in pixels).
    """

    def __init__(self, spec: WorldSpec, root: Path, progress: ReportProgress | None = None) -> None:
        """Raises: FileExistsError: the root folder is not empty."""
        if root.exists() and any(root.iterdir()):
            raise FileExistsError(
                f"{root}: the world is written into a new or empty folder; remove this one or name another"
            )
        self.spec = spec
        self.root = root
        self._progress = progress
        self._written = 0
        (root / "world").mkdir(parents=True, exist_ok=True)
        self._scenes = (root / "world/scenes.jsonl").open("w", encoding="utf-8")

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scenes.close()

    def scenes(
        self, name: str, number: int, twins: float = 0.0, echo: float = 0.4, least: int = 1
    ) -> list[Scene]:
        """Draw the scenes of a set; each pair (2i, 2i + 1) has its own stream, so that a larger set begins like a smaller one.

        Args:
            name: of the set.
            number: of scenes.
            twins: share of pairs whose second scene is the twin of the first.
            echo: see ``draw_scene``.
            least: see ``draw_scene``.
        """
        spec, scenes = self.spec, list[Scene]()
        for pair in range((number + 1) // 2):
            rng = stream(spec.seed, name, "scenes", pair)
            scenes.append(draw_scene(rng, spec.kinds, spec.grid, spec.objects, echo, least))
            twin = rng.random() < twins
            scenes.append(
                draw_twin(rng, scenes[-1], spec.kinds)
                if twin
                else draw_scene(rng, spec.kinds, spec.grid, spec.objects, echo, least)
            )
        return scenes[:number]

    def boxes(self, scene: Scene) -> list[tuple[int, int, int, int]]:
        """Return the objects' boxes (x, y, width, height) in pixels."""
        return [box(thing, self.spec.canvas, self.spec.grid) for thing in scene.things]

    def draw(self, scene: Scene) -> Image.Image:
        """Return the scene's image."""
        return render(scene, self.spec.canvas, self.spec.grid)

    def encode(self, scene: Scene) -> bytes:
        """Return the scene's image as JPEG."""
        return jpeg(self.draw(scene))

    def photograph(self, scene: Scene, file: str, dataset: str, split: str) -> None:
        """Write a scene's image as JPEG, ``file`` being relative to the root, and list it under its file name."""
        path = self.path(file)
        path.write_bytes(self.encode(scene))
        self.note(scene, file, path.name, dataset, split)

    def note(self, scene: Scene, file: str, key: str, dataset: str, split: str) -> None:
        """List an image in ``world/scenes.jsonl`` and report progress."""
        things = [
            {"kind": t.kind, "tint": t.tint, "size": t.size, "row": t.row, "column": t.column, "box": list(b)}
            for t, b in zip(scene.things, self.boxes(scene), strict=True)
        ]
        canvas = self.spec.canvas
        line = {
            "dataset": dataset,
            "split": split,
            "key": key,
            "file": file,
            "width": canvas,
            "height": canvas,
        }
        self._scenes.write(compact(line | {"background": scene.background, "objects": things}) + "\n")
        self._written += 1
        if self._progress is not None:
            self._progress(dataset, self._written)

    def path(self, file: str) -> Path:
        """Return a file below the root, whose folder exists."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_json(self, file: str, content: Any) -> None:
        """Write compact JSON with sorted keys."""
        self.path(file).write_text(compact(content) + "\n", encoding="utf-8")


def compact(content: Any) -> str:
    """Write JSON without spaces and with sorted keys: the same bytes for the same content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
