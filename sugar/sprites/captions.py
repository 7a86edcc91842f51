"""Captions: one English sentence that names noun, style, motion and place."""

from functools import lru_cache

from sugar.sprites import randomness
from sugar.sprites.backgrounds import BACKGROUNDS
from sugar.sprites.identity import COLOUR_NAMES
from sugar.sprites.motions import MOTIONS
from sugar.sprites.nouns import NOUNS
from sugar.sprites.styles import STYLES

NOUN_PHRASES = {"dinosaur": "toy dinosaur"}
"""Nouns that are called something longer in a caption."""
TEMPLATES = (
    "{subject} {participle} {place}",
    "{subject} {verb} {place}",
    "{subject} that {verb} {place}",
    "{place} {subject} {verb}",
)


def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def caption(noun: str, style: str, background: str, motion: str, seed: int, colour: str | None = None) -> str:
    """Lower-case sentence of at most 24 words; templates and synonyms are drawn from the seed.

    Raises ValueError for a noun, style, background, motion or colour that Sprite World does not know.
    """
    tables = {"noun": (noun, NOUNS), "style": (style, STYLES), "background": (background, BACKGROUNDS)}
    tables |= {"motion": (motion, MOTIONS), "colour": (colour or COLOUR_NAMES[0], COLOUR_NAMES)}
    for key, (value, table) in tables.items():
        if value not in table:
            raise ValueError(f"{key} must be one of {', '.join(table)}, got {value!r}")
    u = randomness.stream(randomness.CAPTION, seed).random(6).tolist()

    def pick(options: tuple[str, ...], number: float) -> str:
        return options[int(number * len(options))]

    name = NOUN_PHRASES.get(noun, noun)
    subject = _article(f"{colour} {name}" if colour else name)
    prefixes, suffixes = STYLES[style].prefixes, STYLES[style].suffixes
    if prefixes and (u[0] < 0.5 or not suffixes):
        subject = f"{pick(prefixes, u[1])} {subject}"
    elif suffixes:
        subject = f"{subject} {pick(suffixes, u[1])}"
    return pick(TEMPLATES, u[2]).format(
        subject=subject,
        participle=pick(MOTIONS[motion].participles, u[3]),
        verb=pick(MOTIONS[motion].verbs, u[3]),
        place=pick(BACKGROUNDS[background].phrases, u[4]),
    )


@lru_cache(maxsize=1)
def _words() -> tuple[str, ...]:
    phrases = ["a", "an", *NOUNS, *NOUN_PHRASES.values(), *COLOUR_NAMES, *STYLES]
    phrases += [t.format(subject="", participle="", verb="", place="") for t in TEMPLATES]
    for style in STYLES.values():
        phrases += style.prefixes + style.suffixes
    for motion in MOTIONS.values():
        phrases += motion.verbs + motion.participles
    for background in BACKGROUNDS.values():
        phrases += background.phrases
    return tuple(sorted({word for phrase in phrases for word in phrase.split()}))


def vocabulary() -> list[str]:
    """All words that captions are made of, sorted."""
    return list(_words())
