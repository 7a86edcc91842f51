"""The wide grammar: prompts over style, texture, colour, background and motion, for generators that read.

SUGAR section 3.1 takes prompts from templates over such attributes. Here they are tables, a list of synonyms
each; every category has motions of its own, and a prompt keeps its attributes as tags.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from sugar.synthesis.prompts import (
    CAMERAS_WHEN_STILL,
    REAL_MOTION_SHARE,
    STILL,
    Phrases,
    Prompt,
    check_request,
    pick,
    with_article,
)

STYLES: Mapping[str, tuple[str, ...]] = {
    "oil painting": ("an oil painting of {}", "{} painted in oil"),
    "watercolour": ("a watercolour painting of {}", "{} painted in watercolour"),
    "pencil drawing": ("a pencil drawing of {}", "{} drawn in pencil"),
    "comic": ("{} in the style of a comic book", "a comic book panel of {}"),
    "anime": ("{} in anime style", "an anime picture of {}"),
    "pixel art": ("pixel art of {}", "{} in pixel art style"),
    "stained glass": ("{} as a stained glass window", "a stained glass picture of {}"),
    "mosaic": ("a mosaic of {}", "{} laid out as a mosaic"),
    "woodcut": ("a woodcut print of {}", "{} cut as a woodblock print"),
    "low poly": ("a low poly render of {}", "{} as a low poly model"),
    "cyberpunk": ("{} in cyberpunk style", "a cyberpunk picture of {}"),
    "film noir": ("{} in a black and white film noir", "a film noir shot of {}"),
    "ukiyo-e": ("{} as an ukiyo-e print", "a Japanese woodblock print of {}"),
    "pop art": ("{} in pop art style", "a pop art poster of {}"),
    "claymation": ("{} in a claymation film", "a claymation figure of {}"),
}
TEXTURES: Mapping[str, tuple[str, ...]] = {
    "wood": ("made of carved wood", "made of oak"),
    "marble": ("made of white marble", "carved from marble"),
    "wool": ("knitted from wool", "made of soft wool"),
    "glass": ("made of clear glass", "blown from glass"),
    "gold": ("made of gold", "made of polished gold"),
    "ice": ("made of ice", "carved from clear ice"),
    "stone": ("made of rough stone", "carved from grey stone"),
    "paper": ("folded from paper", "made of origami paper"),
    "porcelain": ("made of porcelain", "made of glazed porcelain"),
    "chocolate": ("made of chocolate", "moulded from dark chocolate"),
    "leather": ("made of brown leather", "sewn from leather"),
    "rusty metal": ("made of rusty metal", "welded from old iron"),
    "bricks": ("built from toy bricks", "made of plastic bricks"),
    "crystal": ("made of crystal", "cut from a shining crystal"),
    "felt": ("made of felt", "sewn from felt"),
}
COLOURS = ("red", "blue", "green", "yellow", "purple", "orange", "pink", "turquoise", "black", "white")
PLACES = tuple(
    place.strip()
    for place in """
    on a sandy beach
    in a snowy forest
    in a sunny meadow
    on a city street at night
    on a wooden table
    in a cosy living room
    on the surface of the moon
    under water near a coral reef
    in a rainy alley
    on top of a mountain
    in a field of sunflowers
    in an autumn park
    beside a waterfall
    in a library
    on a stage under spotlights
    in a desert at sunset
    in a kitchen
    on a cobblestone street
    in a jungle
    in front of a castle
    on a boat deck
    in a flower shop
    on a skyscraper roof
    in a foggy swamp
    on a frozen lake
    in a museum hall
    at a busy market
    beside a campfire
    on a train platform
    in a field of lavender
    in a greenhouse
    under cherry blossoms
    """.strip().splitlines()
)
MOTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "animal": {
        "walk": ("is walking", "walks"),
        "run": ("is running", "runs fast"),
        "jump": ("is jumping", "jumps"),
        "eat": ("is eating", "chews slowly"),
        "look": ("is looking around", "turns its head"),
        "dance": ("is dancing", "dances"),
        "roll": ("is rolling over", "rolls on its back"),
        "stretch": ("is stretching", "stretches and yawns"),
    },
    "active_object": {
        "drive": ("is moving forward", "moves ahead"),
        "turn": ("is turning around", "turns around"),
        "jump": ("is jumping", "hops"),
        "dance": ("is dancing", "dances"),
        "wave": ("is swaying", "sways from side to side"),
        "fly": ("is flying", "flies past"),
        "roll": ("is rolling", "rolls along"),
    },
    "static_object": {
        "spin": ("is spinning", "turns slowly"),
        "float": ("is floating", "hovers in the air"),
        "slide": ("is sliding", "slides along"),
        "fall": ("is falling", "drops down"),
        "shake": ("is shaking", "trembles"),
        "rise": ("is rising", "rises slowly"),
    },
}
STILL_VERBS: Mapping[str, tuple[str, ...]] = {
    "animal": ("is resting", "sits still", "is standing"),
    "active_object": ("is standing still", "stands", "is parked"),
    "static_object": ("is standing", "stands still", "rests"),
}
TEMPLATES = ("{subject} {verb} {place}", "{place}, {subject} {verb}", "{subject} that {verb} {place}")
LOOKS = ("style", "texture", "colour", "style and colour", "texture and colour")


def make_wide_prompt(
    noun: str, category: str, seed: int, *, real_motion_share: float = REAL_MOTION_SHARE
) -> Prompt:
    """Prompt of a seed; one or two of style, texture and colour change, so that photo and video differ.

    Args:
        noun: what the subject is called, any words.
        category: a key of MOTIONS.
        seed: everything is a pure function of it and of the arguments.
        real_motion_share: probability that the subject moves, in [0, 1].

    Raises:
        ValueError: unknown category, empty noun, or a share out of range.
    """
    check_request(category, MOTIONS, real_motion_share)
    if not (words := " ".join(noun.split())):
        raise ValueError(f"noun must contain a word, got {noun!r}")
    u = np.random.default_rng(seed).random(12).tolist()
    looks = pick(LOOKS, u[0])
    style = pick(list(STYLES), u[1]) if "style" in looks else ""
    texture = pick(list(TEXTURES), u[2]) if "texture" in looks else ""
    colour = pick(COLOURS, u[3]) if "colour" in looks else ""
    place = pick(PLACES, u[4])
    moves = u[5] < real_motion_share
    motion = pick(list(MOTIONS[category]), u[6]) if moves else STILL
    verbs = MOTIONS[category][motion] if moves else STILL_VERBS[category]
    text = pick(TEMPLATES, u[7]).format(
        subject=_subject(words, style, texture, colour, u[8:]), verb=pick(verbs, u[10]), place=place
    )
    camera = "none" if moves else pick(CAMERAS_WHEN_STILL, u[11])
    return Prompt(text, style, place, motion, camera, texture, colour)


def wide_phrases(category: str) -> Phrases:
    """What the wide grammar says of a category's attributes, for each tag."""
    return {
        "style": STYLES,
        "texture": TEXTURES,
        "colour": dict.fromkeys(COLOURS, ()),
        "background": dict.fromkeys(PLACES, ()),
        "motion": MOTIONS[category],
    }


def _subject(noun: str, style: str, texture: str, colour: str, choices: Sequence[float]) -> str:
    subject = with_article(f"{colour} {noun}".strip())
    if texture:
        subject = f"{subject} {pick(TEXTURES[texture], choices[0])}"
    return pick(STYLES[style], choices[1]).format(subject) if style else subject
