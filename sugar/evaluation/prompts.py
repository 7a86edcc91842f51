"""The benchmark's prompts: eighteen for each of the three categories (SUGAR section 4.1).

The paper shows its prompts only as figures; these are our own. Assumption: decision 0009. As in the
paper, motion fits the category (a dog may dance, a vase may float), most prompts change style, texture or
colour, and "sks" stands where the noun will be. A prompt is kept as its attributes, so that the sentence
with another style, place or motion - what zero-shot accuracy compares with - can be made from it. The
phrases are Sprite World's, which are plain English too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sugar.sprites import BACKGROUNDS, MOTIONS, STYLES

PLACEHOLDER = "sks"
AS_IS = "as is"
PROMPTS_PER_CATEGORY = 18


@dataclass(frozen=True)
class Prompt:
    """One benchmark sentence: attributes of Sprite World and which of its wordings says them."""

    style: str
    background: str
    motion: str
    wording: int

    @property
    def template(self) -> str:
        """The sentence with "sks" for the noun.

        Even wordings put the style before the subject ("a pencil drawing of a sks jumping in a meadow"),
        odd ones after it ("a sks drawn in pencil is jumping in a meadow").
        """
        leading = self.wording % 2 == 0
        style, motion = STYLES[self.style], MOTIONS[self.motion]
        subject = f"a {PLACEHOLDER}"
        if leading and style.prefixes:
            subject = f"{_pick(style.prefixes, self.wording)} {subject}"
        elif style.suffixes:
            subject = f"{subject} {_pick(style.suffixes, self.wording)}"
        move = _pick(motion.participles if leading else motion.verbs, self.wording)
        return f"{subject} {move} {_pick(BACKGROUNDS[self.background].phrases, self.wording)}"

    def text(self, noun: str) -> str:
        """The sentence about a noun, with its article."""
        article = "an" if noun[:1].lower() in "aeiou" else "a"
        return self.template.replace(f"a {PLACEHOLDER}", f"{article} {noun}")

    def alternatives(self, attribute: str, noun: str) -> dict[str, str]:
        """The same sentence with every value of one attribute ("style", "background" or "motion")."""
        values: Mapping[str, object] = {"style": STYLES, "background": BACKGROUNDS, "motion": MOTIONS}[
            attribute
        ]
        return {value: replace(self, **{attribute: value}).text(noun) for value in values}


def _pick(phrases: tuple[str, ...], wording: int) -> str:
    return phrases[wording // 2 % len(phrases)]


# (style, background, motion). As-is and changed subjects alternate, so that any two in a row have both.
_ROWS: Mapping[str, tuple[tuple[str, str, str], ...]] = {
    "animal": (
        (AS_IS, "beach", "jump"),
        ("pencil drawing", "meadow", "dance"),
        (AS_IS, "snow", "slide left"),
        ("gold", "city", "spin"),
        (AS_IS, "room", "dance"),
        ("watercolour", "beach", "slide right"),
        (AS_IS, "space", "float"),
        ("neon", "city", "jump"),
        (AS_IS, "meadow", "slide right"),
        ("pixel art", "space", "float"),
        (AS_IS, "city", "spin"),
        ("gold", "room", "still"),
        (AS_IS, "beach", "grow"),
        ("pencil drawing", "snow", "jump"),
        (AS_IS, "meadow", "still"),
        ("pixel art", "meadow", "slide left"),
        ("watercolour", "snow", "spin"),
        ("neon", "room", "grow"),
    ),
    "active_object": (
        (AS_IS, "city", "slide right"),
        ("gold", "room", "dance"),
        (AS_IS, "space", "jump"),
        ("pencil drawing", "city", "slide left"),
        (AS_IS, "beach", "spin"),
        ("neon", "space", "float"),
        (AS_IS, "snow", "dance"),
        ("watercolour", "meadow", "jump"),
        (AS_IS, "room", "slide left"),
        ("pixel art", "beach", "slide right"),
        (AS_IS, "meadow", "grow"),
        ("neon", "city", "still"),
        (AS_IS, "space", "float"),
        ("gold", "beach", "jump"),
        (AS_IS, "city", "still"),
        ("pencil drawing", "meadow", "spin"),
        ("pixel art", "snow", "dance"),
        ("watercolour", "room", "grow"),
    ),
    "static_object": (
        (AS_IS, "room", "slide left"),
        ("watercolour", "meadow", "float"),
        (AS_IS, "beach", "spin"),
        ("pixel art", "city", "slide right"),
        (AS_IS, "meadow", "grow"),
        ("gold", "snow", "spin"),
        (AS_IS, "space", "float"),
        ("pencil drawing", "room", "slide left"),
        (AS_IS, "city", "still"),
        ("neon", "beach", "grow"),
        (AS_IS, "snow", "slide right"),
        ("gold", "space", "float"),
        (AS_IS, "beach", "float"),
        ("pixel art", "room", "still"),
        (AS_IS, "meadow", "spin"),
        ("neon", "city", "slide left"),
        ("pencil drawing", "space", "grow"),
        ("watercolour", "beach", "slide right"),
    ),
}

PROMPTS: Mapping[str, tuple[Prompt, ...]] = {
    category: tuple(Prompt(*row, wording=3 * index // 2) for index, row in enumerate(rows))
    for category, rows in _ROWS.items()
}
