"""Customised images: the subject in another style and in another place (SUGAR section 3.1).

The procedural backend restyles the cut-out and sets it before a drawn place; it takes any cut-out, drawn or
photographed. It hands back its layers beside the picture, so that the animation can move them apart.
"""

from typing import NamedTuple

import cv2
import numpy as np

from sugar.sprites import apply_style, draw_background, render_clip, style_background
from sugar.synthesis.prompts import STILL, Prompt

SUBJECT_SCALES = (0.60, 0.72)
"""Longer side of the subject as a share of the frame's shorter side, as in Sprite World's clips."""
FILL = 0.92
"""Share of the square's side that the fitted cut-out takes."""


class Customized(NamedTuple):
    """A customised image uint8 [H, W, 3], and the layers it is made of where the backend knows them.

    subject: restyled cut-out, uint8 [S, S, 4]; background: uint8 [H, W, 3]; subject_scale: size of the
    subject as a share of the frame's shorter side; num_candidates, score: how many pictures a generator drew
    for it and what the best of several scored.
    """

    image: np.ndarray
    subject: np.ndarray | None = None
    background: np.ndarray | None = None
    subject_scale: float = SUBJECT_SCALES[0]
    num_candidates: int = 0
    score: float | None = None


def customize_procedural(
    identity_rgba: np.ndarray, prompt: Prompt, seed: int, height_px: int, width_px: int
) -> Customized:
    """The identity, restyled, in the prompt's place: a pure function of its arguments.

    Args:
        identity_rgba: cut-out uint8 [h, w, 4], straight alpha, any size and aspect.

    Raises:
        ValueError: the cut-out is empty.
    """
    low, high = SUBJECT_SCALES
    scale = low + (high - low) * float(np.random.default_rng(seed).random())
    subject = apply_style(fit_square(identity_rgba, min(height_px, width_px)), prompt.style, seed)
    background = style_background(
        draw_background(prompt.background, height_px, width_px, seed), prompt.style, seed
    )
    image = render_clip(subject, background, STILL, 1, seed, subject_scale=scale)[0]
    return Customized(image, subject, background, scale)


def fit_square(rgba: np.ndarray, side_px: int) -> np.ndarray:
    """The visible part of a cut-out, centred in a square: uint8 [side_px, side_px, 4], straight alpha.

    Styles measure their strokes by the shorter side of a picture, so a tall vase needs the square as much as
    a round clock does.

    Raises:
        ValueError: nothing is visible.
    """
    x, y, width, height = cv2.boundingRect((rgba[:, :, 3] > 24).astype(np.uint8))
    if not width:
        raise ValueError("the cut-out must contain a visible subject, but its alpha is empty")
    cut = rgba[y : y + height, x : x + width].astype(np.float32)
    cut[:, :, :3] *= cut[:, :, 3:] / 255
    scale = FILL * side_px / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square = np.zeros((side_px, side_px, 4), np.float32)
    top, left = (side_px - size[1]) // 2, (side_px - size[0]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    square[:, :, :3] *= 255 / np.maximum(square[:, :, 3:], 1)
    return np.clip(square + 0.5, 0, 255).astype(np.uint8)
