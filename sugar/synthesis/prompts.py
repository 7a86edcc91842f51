"""Prompts: what a user might ask of a subject, as one sentence and as tags.

The sentences are made of Sprite World's phrases for styles, places and motions, so that the text encoder of
that world knows them; the noun may be any noun.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from sugar.sprites import BACKGROUNDS, MOTIONS, STYLES
from sugar.sprites.captions import NOUN_PHRASES, TEMPLATES

Option = TypeVar("Option")
Phrases = Mapping[str, Mapping[str, Sequence[str]]]
"""Attribute (a field of Prompt) -> tag -> the phrases that say it."""

STILL = "still"
AS_IS = "as is"
REAL_MOTION_SHARE = 0.25
"""Share of prompts that ask for a motion of the subject. The paper's synthetic clips are mostly still (SUGAR
section 3.2). Assumption: decision 0014."""
MOTIONS_OF_CATEGORY: Mapping[str, tuple[str, ...]] = {
    "animal": ("slide left", "slide right", "jump", "spin", "grow", "float", "dance"),
    "active_object": ("slide left", "slide right", "jump", "spin", "grow", "float", "dance"),
    "static_object": ("slide left", "slide right", "spin", "grow", "float"),
}
"""Motions that suit a category: a vase slides and floats, but does not dance (SUGAR section 4.2)."""
PLURAL_NOUNS = frozenset(
    """
    binoculars boots earrings glasses gloves goggles headphones jeans mittens pants pliers scissors shoes
    shorts slippers sneakers socks sunglasses trousers
    """.split()
)
"""Nouns of which one speaks in pairs."""
CAMERAS_WHEN_STILL = ("pan", "pan", "zoom", "zoom", "none")
"""The camera of a clip whose subject stands still; the clips that do not move at all are what the filter on
optical flow is for."""


class Prompt(NamedTuple):
    """A sentence and its tags; a tag is "" where the prompt says nothing of it.

    style, background, motion, camera: keys of Sprite World's tables, or of the wide grammar's. texture,
    colour: of the wide grammar. writer: who wrote the sentence, "grammar" or "language model". refused,
    answer: why the sentence of a language model was not taken, and what it was.
    """

    text: str
    style: str
    background: str
    motion: str
    camera: str
    texture: str = ""
    colour: str = ""
    writer: str = "grammar"
    refused: str = ""
    answer: str = ""


def check_request(category: str, known: Collection[str], real_motion_share: float) -> None:
    """Raise ValueError for a category that is not known or a share outside of [0, 1]."""
    if category not in known:
        raise ValueError(f"category must be one of {', '.join(known)}, got {category!r}")
    if not 0 <= real_motion_share <= 1:
        raise ValueError(f"real_motion_share must be in [0, 1], got {real_motion_share}")


def make_prompt(
    noun: str, category: str, seed: int, *, real_motion_share: float = REAL_MOTION_SHARE
) -> Prompt:
    """Prompt of a seed: always a style other than "as is", so that photo and video differ in looks.

    Args:
        noun: what the subject is called, any words.
        category: a key of MOTIONS_OF_CATEGORY.
        seed: everything is a pure function of it and of the arguments.
        real_motion_share: probability that the subject moves, in [0, 1].

    Raises:
        ValueError: unknown category, empty noun, or a share out of range.
    """
    check_request(category, MOTIONS_OF_CATEGORY, real_motion_share)
    u = np.random.default_rng(seed).random(10).tolist()
    moves = u[0] < real_motion_share
    style = pick([name for name in STYLES if name != AS_IS], u[1])
    background = pick(list(BACKGROUNDS), u[2])
    motion = pick(MOTIONS_OF_CATEGORY[category], u[3]) if moves else STILL
    camera = "none" if moves else pick(CAMERAS_WHEN_STILL, u[4])
    return Prompt(sentence(noun, style, background, motion, u[5:]), style, background, motion, camera)


def sentence(noun: str, style: str, background: str, motion: str, choices: Sequence[float]) -> str:
    """Caption in the grammar of `sugar.sprites.caption`, for any noun.

    Args:
        choices: five numbers in [0, 1) that pick the phrases.

    Raises:
        ValueError: empty noun.
    """
    words = " ".join(noun.split())
    if not words:
        raise ValueError(f"noun must contain a word, got {noun!r}")
    subject = with_article(NOUN_PHRASES.get(words, words))
    prefixes, suffixes = STYLES[style].prefixes, STYLES[style].suffixes
    if prefixes and (choices[0] < 0.5 or not suffixes):
        subject = f"{pick(prefixes, choices[1])} {subject}"
    elif suffixes:
        subject = f"{subject} {pick(suffixes, choices[1])}"
    return pick(TEMPLATES, choices[2]).format(
        subject=subject,
        participle=pick(MOTIONS[motion].participles, choices[3]),
        verb=pick(MOTIONS[motion].verbs, choices[3]),
        place=pick(BACKGROUNDS[background].phrases, choices[4]),
    )


def phrases(category: str) -> Phrases:
    """What the grammar says of a category's attributes, for each tag."""
    return {
        "style": {name: style.prefixes + style.suffixes for name, style in STYLES.items() if name != AS_IS},
        "background": {name: place.phrases for name, place in BACKGROUNDS.items()},
        "motion": {m: MOTIONS[m].verbs + MOTIONS[m].participles for m in MOTIONS_OF_CATEGORY[category]},
    }


def with_article(phrase: str) -> str:
    """ "an owl", "a pair of boots"."""
    if phrase.split()[-1].lower() in PLURAL_NOUNS:
        return f"a pair of {phrase}"
    return ("an " if phrase[0].lower() in "aeiou" else "a ") + phrase


def pick(options: Sequence[Option], number: float) -> Option:
    """The option that a number in [0, 1) falls on."""
    return options[int(number * len(options))]
