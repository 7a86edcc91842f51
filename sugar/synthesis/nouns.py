"""The paper's three categories for nouns that come without one."""

import functools
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from sugar.config import InputError
from sugar.data.tables import read_rows
from sugar.sprites import CATEGORIES, NOUNS

_, ACTIVE_OBJECT, STATIC_OBJECT = CATEGORIES

VOCABULARY = "vocabulary.csv"
"""Nouns and their categories, beside this file."""

TOYS = frozenset("cartoon doll figurine lego plush plushie puppet robot stuffed toy".split())
"""Words that make an active object of any noun."""


@functools.cache
def vocabulary() -> Mapping[str, str]:
    """Noun -> category: over a thousand things that people photograph, of one or more words each."""
    text = resources.files("sugar.synthesis").joinpath(VOCABULARY).read_text(encoding="utf-8")
    return dict(line.split(",") for line in text.split("\n")[1:] if line)


def read_vocabulary(file: Path | str) -> dict[str, str]:
    """A vocabulary of one's own: CSV with the columns noun and category.

    Raises:
        InputError: as `read_rows`, an unknown category, or no noun.
    """
    nouns = {row["noun"]: row["category"] for _, row in read_rows(Path(file), ("noun", "category"))}
    if wrong := sorted(set(nouns.values()) - set(CATEGORIES)):
        raise InputError(f"{file}: category must be one of {', '.join(CATEGORIES)}, got {wrong[0]!r}")
    if not nouns:
        raise InputError(f"{file}: must list at least one noun")
    return nouns


def category_of(noun: str) -> str:
    """Category of a noun: of Sprite World's table, else of the vocabulary, else of its last word there.

    A toy animal is an active object ("stuffed animal", "toy dog"). A noun that no list has is a static
    object: its motions (sliding, spinning, floating, growing) suit anything. Assumption: decision 0014.
    """
    if noun in NOUNS:
        return NOUNS[noun].category
    known = vocabulary()
    if noun.lower() in known:
        return known[noun.lower()]
    words = re.findall(r"[a-z]+", noun.lower())
    if TOYS.intersection(words):
        return ACTIVE_OBJECT
    return (_category(words[-1]) if words else None) or STATIC_OBJECT


def _category(word: str) -> str | None:
    """Of a word, or of what it is the plural of."""
    known = vocabulary()
    return known.get(word) or known.get(word.removesuffix("s"))
