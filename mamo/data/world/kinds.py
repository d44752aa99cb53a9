"""The inventory of the world: kinds of things with their words and glyphs, tints, sizes and backgrounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ObjectKind:
    """A kind of thing: its names (singular, plural), the first one being the canonical, and its OpenMoji character."""

    names: tuple[tuple[str, str], ...]
    category: str
    glyph: str

    @property
    def name(self) -> str:
        return self.names[0][0]


def _kind(category: str, codepoint: int, *names: str) -> ObjectKind:
    pairs = tuple((name, name if name == "fish" else _plural(name)) for name in names)
    return ObjectKind(pairs, category, chr(codepoint))


def _plural(name: str) -> str:
    if name.endswith("y") and name[-2] not in "aeiou":
        return f"{name[:-1]}ies"
    return f"{name}es" if name.endswith(("s", "sh", "ch", "x")) else f"{name}s"


# In turns of the four categories, so that the first N kinds are mixed whatever N is.
KINDS = (
    _kind("animal", 0x1F431, "cat", "kitten"),
    _kind("fruit", 0x1F34E, "apple"),
    _kind("vehicle", 0x1F697, "car", "automobile"),
    _kind("household item", 0x2602, "umbrella", "parasol"),
    _kind("animal", 0x1F415, "dog", "puppy"),
    _kind("fruit", 0x1F34C, "banana"),
    _kind("vehicle", 0x1F68D, "bus", "coach"),
    _kind("household item", 0x1FA91, "chair", "seat"),
    _kind("animal", 0x1F41F, "fish"),
    _kind("fruit", 0x1F353, "strawberry"),
    _kind("vehicle", 0x1F6B2, "bicycle", "bike"),
    _kind("household item", 0x23F0, "clock", "alarm clock"),
    _kind("animal", 0x1F422, "turtle", "tortoise"),
    _kind("fruit", 0x1F34D, "pineapple"),
    _kind("vehicle", 0x2708, "plane", "airplane"),
    _kind("household item", 0x1F511, "key"),
    _kind("animal", 0x1F98B, "butterfly"),
    _kind("fruit", 0x1F350, "pear"),
    _kind("vehicle", 0x1F680, "rocket", "spaceship"),
    _kind("household item", 0x1F3A9, "hat", "top hat"),
    _kind("animal", 0x1F407, "rabbit", "bunny"),
    _kind("fruit", 0x1F349, "watermelon", "melon"),
    _kind("vehicle", 0x1F682, "train", "locomotive"),
    _kind("household item", 0x2615, "cup", "mug"),
    _kind("animal", 0x1F40C, "snail"),
    _kind("fruit", 0x1F34B, "lemon"),
    _kind("vehicle", 0x1F681, "helicopter", "chopper"),
    _kind("household item", 0x1F3B8, "guitar"),
    _kind("animal", 0x1F418, "elephant"),
    _kind("fruit", 0x1F951, "avocado"),
    _kind("vehicle", 0x1F69C, "tractor"),
    _kind("household item", 0x1F388, "balloon"),
)
BY_NAME = {kind.name: kind for kind in KINDS}
CATEGORIES = {
    "animal": "animals",
    "fruit": "fruits",
    "vehicle": "vehicles",
    "household item": "household items",
}

TINTS = {
    "red": (222, 30, 38),
    "orange": (250, 140, 15),
    "yellow": (253, 226, 30),
    "green": (30, 150, 50),
    "blue": (30, 95, 225),
    "purple": (132, 45, 180),
    "pink": (252, 140, 195),
    "white": (248, 248, 248),
}
SIZES = {"small": 0.65, "large": 0.92}  # longer side of the drawing as a share of the cell's
BACKGROUNDS = ("grass", "sand", "snow", "water", "wood", "night")
