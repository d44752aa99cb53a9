"""Draw a picture of the embedded world: scenes with a caption each, chosen by a seed.

    python -m mamo.reporting.scenes RELEASE OUT.png

where RELEASE is the ``release`` folder of a ``world`` run.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import numpy as np

COLUMNS, ROWS = 4, 2


def draw_scenes(release: Path, out: Path, seed: int = 0) -> None:
    """Draw pairs of neighbouring training images (twins, which differ in one respect) with their first captions."""
    from matplotlib.figure import Figure
    from PIL import Image

    images = json.loads((release / "coco" / "dataset_coco.json").read_text(encoding="utf-8"))["images"]
    train = [image for image in images if image["split"] == "train"]
    pairs = np.random.default_rng(seed).choice(len(train) // 2, COLUMNS * ROWS // 2, replace=False)
    chosen = [train[2 * pair + side] for pair in pairs for side in (0, 1)]
    figure = Figure(figsize=(2.6 * COLUMNS, 3.1 * ROWS), layout="constrained")
    for axes, image in zip(figure.subplots(ROWS, COLUMNS).flat, chosen, strict=True):
        with Image.open(release / "coco" / image["filepath"] / image["filename"]) as picture:
            axes.imshow(picture.convert("RGB"))
        axes.set_title(
            "\n".join(textwrap.wrap(image["sentences"][0]["raw"], 34)), fontsize=9, y=-0.02, va="top"
        )
        axes.axis("off")
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    draw_scenes(Path(sys.argv[1]), Path(sys.argv[2]))
