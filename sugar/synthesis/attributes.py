"""Whether a sentence still says what the tags of its prompt say, by the words of the grammar's phrases."""

import re
from collections.abc import Collection, Mapping, Sequence

from sugar.synthesis.prompts import Phrases, Prompt

EMPTY_WORDS = frozenset(
    "a an and as at by for from front in into is its made near of on out that the to under up with".split()
)
"""Words of phrases that say nothing of an attribute by themselves."""


def lost_attribute(text: str, prompt: Prompt, phrases: Phrases) -> str:
    """The first attribute of a prompt of which a sentence holds no word; empty where it holds one of each.

    A tag's words are those of its name and phrases that no other tag of the attribute has. Inflections count
    ("walks" for "is walking", "golden" for "gold"); a tag without phrases ("still") is said by any sentence.
    """
    said = _words(text)
    for attribute, table in phrases.items():
        tag = getattr(prompt, attribute)
        if tag in table and not any(word.startswith(tuple(_own_stems(tag, table))) for word in said):
            return attribute
    return ""


def _own_stems(tag: str, table: Mapping[str, Sequence[str]]) -> Collection[str]:
    stems = {name: {_stem(word) for text in (name, *table[name]) for word in _words(text)} for name in table}
    own = stems[tag].difference(*(stems[name] for name in table if name != tag))
    return own or stems[tag]


def _words(text: str) -> list[str]:
    words = re.findall(r"[^\W_]+", text.lower().replace("colour", "color"))
    return [word for word in words if word not in EMPTY_WORDS]


def _stem(word: str) -> str:
    """A word without its ending; at least three letters are left."""
    stem = re.sub(r"(?<=\w{3})(?:ing|ed|es|s|y)$", "", word)
    return stem if stem == word else re.sub(r"([^aeiouls])\1$", r"\1", stem)
