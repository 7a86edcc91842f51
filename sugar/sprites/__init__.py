"""Sprite World: procedurally drawn subjects, styles, places and motions; the default offline world.

Everything is a pure function of its seed: no file is read and no network asked.
"""

from sugar.sprites.backgrounds import BACKGROUNDS, draw_background
from sugar.sprites.captions import caption, vocabulary
from sugar.sprites.identity import (
    COLOUR_NAMES,
    HELD_OUT_SEEDS,
    PATTERNS,
    TRAIN_SEEDS,
    Identity,
    Palette,
    colour_name,
    draw_identity,
)
from sugar.sprites.motions import MOTIONS, motion_affines
from sugar.sprites.nouns import CATEGORIES, NOUNS, Noun
from sugar.sprites.pen import Proportions
from sugar.sprites.rendering import CAMERAS, render_clip, render_clip_with_masks
from sugar.sprites.styles import STYLES, apply_style, style_background
from sugar.sprites.subjects import draw_subject
from sugar.sprites.world import SpriteClip, sample_clip

__all__ = [
    "BACKGROUNDS",
    "CAMERAS",
    "CATEGORIES",
    "COLOUR_NAMES",
    "HELD_OUT_SEEDS",
    "MOTIONS",
    "NOUNS",
    "PATTERNS",
    "STYLES",
    "TRAIN_SEEDS",
    "Identity",
    "Noun",
    "Palette",
    "Proportions",
    "SpriteClip",
    "apply_style",
    "caption",
    "colour_name",
    "draw_background",
    "draw_identity",
    "draw_subject",
    "motion_affines",
    "render_clip",
    "render_clip_with_masks",
    "sample_clip",
    "style_background",
    "vocabulary",
]
