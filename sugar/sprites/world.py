"""One clip of Sprite World: everything about it is a pure function of its arguments."""

from dataclasses import dataclass

import numpy as np

from sugar.sprites import randomness
from sugar.sprites.backgrounds import BACKGROUNDS, draw_background
from sugar.sprites.captions import caption
from sugar.sprites.identity import TRAIN_SEEDS, Identity, colour_name, draw_identity
from sugar.sprites.motions import MOTIONS
from sugar.sprites.rendering import render_clip
from sugar.sprites.styles import STYLES, apply_style, style_background
from sugar.sprites.subjects import draw_subject

AS_IS_PROBABILITY = 0.4
COLOUR_PROBABILITY = 0.3
SUBJECT_SCALES = (0.58, 0.70)
"""Range of the subject's size, as a share of the frame's shorter side."""


@dataclass(frozen=True)
class SpriteClip:
    """A clip, the subject in it, and the truth about both.

    frames_THWC: uint8 [T, H, W, 3]; subject_rgba: the subject as it is, uint8 [S, S, 4]; styled_rgba: the
    subject as the clip shows it.
    """

    frames_THWC: np.ndarray
    subject_rgba: np.ndarray
    styled_rgba: np.ndarray
    caption: str
    identity: Identity
    style: str
    background: str
    motion: str
    seed: int


def sample_clip(
    seed: int,
    *,
    noun: str | None = None,
    identity: Identity | None = None,
    style: str | None = None,
    background: str | None = None,
    motion: str | None = None,
    num_frames: int = 9,
    height_px: int = 64,
    width_px: int = 64,
    with_colour: bool | None = None,
) -> SpriteClip:
    """Clip of a seed; what is not given is drawn from the seed (identities from TRAIN_SEEDS).

    `identity` carries its own noun and goes before `noun`. Style "as is" has probability 0.4. The caption
    names the colour if `with_colour`; by default in 3 clips of 10. Raises ValueError for unknown names,
    no frames, or a noun that contradicts the identity.
    """
    u = randomness.stream(randomness.CLIP, seed).random(7).tolist()
    if identity is None:
        identity = draw_identity(int(u[0] * len(TRAIN_SEEDS)), noun)
    elif noun not in (None, identity.noun):
        raise ValueError(f"noun must be the identity's {identity.noun!r} or left out, got {noun!r}")
    if style is None:
        changes = [name for name in STYLES if name != "as is"]
        share = (u[1] - AS_IS_PROBABILITY) / (1 - AS_IS_PROBABILITY)
        style = "as is" if share < 0 else changes[int(share * len(changes))]
    background = background or list(BACKGROUNDS)[int(u[2] * len(BACKGROUNDS))]
    motion = motion or list(MOTIONS)[int(u[3] * len(MOTIONS))]
    named = with_colour if with_colour is not None else u[4] < COLOUR_PROBABILITY
    subject = draw_subject(identity, min(height_px, width_px))
    styled = apply_style(subject, style, seed)
    place = style_background(draw_background(background, height_px, width_px, seed), style, seed)
    scale = SUBJECT_SCALES[0] + (SUBJECT_SCALES[1] - SUBJECT_SCALES[0]) * u[5]
    return SpriteClip(
        frames_THWC=render_clip(styled, place, motion, num_frames, seed, subject_scale=scale),
        subject_rgba=subject,
        styled_rgba=styled,
        caption=caption(
            identity.noun, style, background, motion, seed, colour_name(identity) if named else None
        ),
        identity=identity,
        style=style,
        background=background,
        motion=motion,
        seed=seed,
    )
