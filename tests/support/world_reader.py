"""A reader of the world's texts: it knows the words, not the grammar that put them together."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mamo.data.world.grammar import GROUNDS, RELATIONS, SIDES, SIZE_WORDS
from mamo.data.world.kinds import CATEGORIES, KINDS, TINTS
from mamo.data.world.oracle import Description, Mention, Statement

NOUNS: dict[str, tuple[str | None, str | None, bool]] = {
    form: (kind.name, None, form == many)
    for kind in KINDS
    for one, many in kind.names
    for form in (one, many)
}
NOUNS |= {form: (None, one, form == many) for one, many in CATEGORIES.items() for form in (one, many)}
NOUNS |= {form: (None, None, form.endswith("s")) for form in ("thing", "object", "things", "objects")}
NUMBERS = {"two": 2, "three": 3, "four": 4, "five": 5}
SIZES = {word: size for size, words in SIZE_WORDS.items() for word in words}
_ADJECTIVE = "|".join([*SIZES, *TINTS])
_PHRASE = re.compile(
    rf"\b(?:(two|three|four|five) )?((?:(?:{_ADJECTIVE}) )*)\b({'|'.join(sorted(NOUNS, key=len, reverse=True))})\b"
    rf"(?: that (?:is|are) ((?:{_ADJECTIVE})(?: and (?:{_ADJECTIVE}))*))?"
)


def read_phrases(text: str, numbered: bool = True) -> Iterator[tuple[int, int, int, Description]]:
    """Start, end, count and description of every noun phrase; a plural has its number if texts are ``numbered``."""
    for match in _PHRASE.finditer(text):
        number, before, noun, after = match.groups()
        words = f"{before} {after or ''}".split()
        kind, category, plural = NOUNS[noun]
        tint = next((word for word in words if word in TINTS), None)
        size = next((SIZES[word] for word in words if word in SIZES), None)
        count = NUMBERS[number] if number else 1
        assert not numbered or plural == (count > 1) or noun == "fish", text
        yield match.start(), match.end(), count, Description(kind, tint, size, category)


def read_statement(text: str) -> Statement:
    """Return what a caption says, by its words alone."""
    text = text.lower().rstrip(" .")
    grounds = {words: ground for ground, all_words in GROUNDS.items() for words in all_words}
    background = next(
        (grounds[w] for w in sorted(grounds, key=len, reverse=True) if re.search(rf"\b{w}\b", text)), None
    )
    for words in sorted(grounds, key=len, reverse=True):
        text = re.sub(rf"\b{words}\b", "", text)
    phrases = list(read_phrases(text))
    relations: list[tuple[int, str, int]] = []
    for i, j in zip(range(len(phrases)), range(1, len(phrases)), strict=False):
        between = text[phrases[i][1] : phrases[j][0]].strip()
        for relation, all_words in RELATIONS.items():
            if any(
                re.fullmatch(rf"(?:(?:is|are) )?{words}(?: (?:an?|the))?", between) for words in all_words
            ):
                relations.append((i, relation, j))
        for relation, words in SIDES.items():
            if re.fullmatch(r"with an?", between) and text[phrases[j][1] :].strip().startswith(words):
                relations.append((j, relation, i))
    return Statement(
        tuple(Mention(what, count) for _, _, count, what in phrases), tuple(relations), background
    )
