"""Render a scene as an image with its boxes."""

from __future__ import annotations

import io

from PIL import Image

from mamo.data.world.backgrounds import paint
from mamo.data.world.glyphs import tinted
from mamo.data.world.scene import Scene, Thing

PixelBox = tuple[int, int, int, int]  # x, y, width, height in pixels, as in COCO
_QUALITY = 92  # of JPEG


def box(thing: Thing, canvas: int, grid: int) -> PixelBox:
    """Tight box around the ink of a thing as it is drawn."""
    cell = canvas // grid
    width, height = tinted(thing.kind, thing.tint, thing.size, cell).size

    def place(index: int, length: int, offset: float) -> int:
        # An object never leaves its cell, whatever its size: cells are the patches of a small model.
        play = (cell - length) / 2 * 0.8
        return round(index * cell + (cell - length) / 2 + offset * play)

    return (
        place(thing.column, width, thing.offset[0]),
        place(thing.row, height, thing.offset[1]),
        width,
        height,
    )


def render(scene: Scene, canvas: int, grid: int) -> Image.Image:
    """Draw a scene as an RGB image of ``canvas`` x ``canvas`` pixels."""
    image = Image.fromarray(paint(scene, canvas))
    for thing in scene.things:
        glyph = tinted(thing.kind, thing.tint, thing.size, canvas // grid)
        x, y, _, _ = box(thing, canvas, grid)
        image.paste(glyph, (x, y), glyph)
    return image


def jpeg(image: Image.Image) -> bytes:
    """Return the image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def png(image: Image.Image) -> bytes:
    """Return the image as PNG, compressed quickly rather than well."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
