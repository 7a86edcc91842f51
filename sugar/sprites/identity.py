"""Who a subject is: noun, palette, pattern and proportions, all from one seed."""

import colorsys
from dataclasses import dataclass
from typing import NamedTuple

from sugar.sprites import randomness
from sugar.sprites.nouns import NOUNS
from sugar.sprites.pen import Proportions

Rgb = tuple[int, int, int]

TRAIN_SEEDS = range(0, 2**31)
"""Identity seeds that may be trained on."""
HELD_OUT_SEEDS = range(2**31, 2**32)
"""Identity seeds kept for evaluation; nothing is ever trained on them."""

PATTERNS = ("plain", "stripes", "diagonal", "dots", "checks", "patches", "gradient", "zigzag")


class Hue(NamedTuple):
    """A nameable colour: centre and half-width of hue (degrees), ranges of saturation and value."""

    centre_degrees: float
    spread_degrees: float
    saturation: tuple[float, float]
    value: tuple[float, float]


HUES: dict[str, Hue] = {
    "red": Hue(357, 6, (0.78, 0.92), (0.82, 0.95)),
    "orange": Hue(27, 4, (0.85, 0.97), (0.95, 1.0)),
    "yellow": Hue(50, 4, (0.75, 0.90), (0.96, 1.0)),
    "green": Hue(115, 18, (0.62, 0.82), (0.62, 0.82)),
    "teal": Hue(177, 7, (0.70, 0.90), (0.66, 0.82)),
    "blue": Hue(217, 11, (0.68, 0.86), (0.80, 0.97)),
    "purple": Hue(274, 11, (0.58, 0.75), (0.68, 0.86)),
    "pink": Hue(331, 7, (0.44, 0.58), (0.96, 1.0)),
    "brown": Hue(24, 5, (0.58, 0.70), (0.46, 0.58)),
    "white": Hue(40, 20, (0.00, 0.06), (0.94, 1.0)),
    "grey": Hue(220, 20, (0.02, 0.07), (0.50, 0.64)),
}
COLOUR_NAMES = tuple(HUES)


class Palette(NamedTuple):
    """Body colour, pattern colour and colour of small details, each (R, G, B) in 0..255."""

    primary: Rgb
    secondary: Rgb
    accent: Rgb


@dataclass(frozen=True)
class Identity:
    """One individual subject of Sprite World."""

    seed: int
    noun: str
    category: str
    palette: Palette
    pattern: str
    proportions: Proportions


def luminance(colour: Rgb) -> float:
    """Rec. 601 luma of an RGB colour, in [0, 1]."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255.0


def _shade_of(name: str, u: float, v: float, w: float) -> Rgb:
    hue = HUES[name]
    degrees = hue.centre_degrees + (2 * u - 1) * hue.spread_degrees
    saturation = hue.saturation[0] + v * (hue.saturation[1] - hue.saturation[0])
    value = hue.value[0] + w * (hue.value[1] - hue.value[0])
    r, g, b = colorsys.hsv_to_rgb((degrees / 360.0) % 1.0, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def _draw_palette(u: list[float]) -> Palette:
    """Palette from 12 uniform numbers; the pattern colour differs from the body in lightness too."""
    names = list(COLOUR_NAMES)
    first = int(u[0] * len(names))
    primary = _shade_of(names[first], u[1], u[2], u[3])
    others = [(name, _shade_of(name, u[4], u[5], u[6])) for i, name in enumerate(names) if i != first]
    # A gold or pencil version keeps lightness only, so the pattern must show in lightness.
    contrasting = [o for o in others if abs(luminance(o[1]) - luminance(primary)) >= 0.25]
    name, secondary = contrasting[int(u[7] * len(contrasting))]
    rest = [other for other, _ in others if other not in (name, "white", "grey", "brown")]
    accent = _shade_of(rest[int(u[8] * len(rest))], u[9], u[10], u[11])
    return Palette(primary, secondary, accent)


def draw_identity(seed: int, noun: str | None = None) -> Identity:
    """Identity of a seed: a pure function with unboundedly many values.

    With `noun` given, the palette, pattern and proportions are those of the seed all the same.
    Raises ValueError for a negative seed or an unknown noun.
    """
    if noun is not None and noun not in NOUNS:
        raise ValueError(f"noun must be one of {', '.join(NOUNS)}, got {noun!r}")
    u = randomness.stream(randomness.IDENTITY, seed).random(20).tolist()
    if noun is None:
        noun = list(NOUNS)[int(u[0] * len(NOUNS))]
    return Identity(
        seed=seed,
        noun=noun,
        category=NOUNS[noun].category,
        palette=_draw_palette(u[1:13]),
        pattern=PATTERNS[int(u[13] * len(PATTERNS))],
        proportions=Proportions(*(2 * v - 1 for v in u[14:20])),
    )


def colour_name(identity: Identity) -> str:
    """Everyday name of the body colour, one of COLOUR_NAMES."""
    r, g, b = (c / 255.0 for c in identity.palette.primary)
    hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
    if saturation < 0.2:
        return "white" if value > 0.8 else "grey"
    degrees = hue * 360.0
    if 10 < degrees < 40 and value < 0.75:
        return "brown"

    def distance(name: str) -> float:
        return abs((degrees - HUES[name].centre_degrees + 180) % 360 - 180)

    return min((n for n in COLOUR_NAMES if n not in ("white", "grey", "brown")), key=distance)
