"""Styles: how a subject cut-out or a background is restyled, and how captions say so."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from sugar.sprites import painting, randomness


class Style(NamedTuple):
    """Words for captions (before the noun, after the noun) and the two restylings."""

    prefixes: tuple[str, ...]
    suffixes: tuple[str, ...]
    subject: Callable[[np.ndarray, np.ndarray, np.random.Generator], painting.Picture]
    background: Callable[[np.ndarray, np.random.Generator], np.ndarray]


STYLES: Mapping[str, Style] = {
    "as is": Style((), (), painting.as_is, painting.as_is_background),
    "pencil drawing": Style(
        ("a pencil drawing of", "a pencil sketch of"),
        ("drawn in pencil",),
        painting.pencil,
        painting.pencil_background,
    ),
    "neon": Style(
        ("a neon picture of", "a glowing neon sign of"),
        ("made of neon light",),
        painting.neon,
        painting.neon_background,
    ),
    "gold": Style(
        ("a golden statue of",),
        ("made of gold", "made of shiny gold"),
        painting.gold,
        painting.as_is_background,
    ),
    "pixel art": Style(
        ("a pixel art picture of", "pixel art of"),
        ("in pixel art style",),
        painting.pixel_art,
        painting.pixel_art_background,
    ),
    "watercolour": Style(
        ("a watercolour painting of", "a watercolour of"),
        ("painted in watercolour",),
        painting.watercolour,
        painting.watercolour_background,
    ),
}


def _style_of(style: str) -> Style:
    if style not in STYLES:
        raise ValueError(f"style must be one of {', '.join(STYLES)}, got {style!r}")
    return STYLES[style]


def _to_uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.round(image), 0, 255).astype(np.uint8)


def apply_style(subject_rgba: np.ndarray, style: str, seed: int) -> np.ndarray:
    """Subject restyled: uint8 [H, W, 4] straight alpha in and out, any size (photo cut-outs too).

    Raises ValueError for an unknown style or a picture that is not uint8 RGBA.
    """
    chosen = _style_of(style)
    if subject_rgba.ndim != 3 or subject_rgba.shape[2] != 4 or subject_rgba.dtype != np.uint8:
        raise ValueError(
            f"subject_rgba must be uint8 [H, W, 4], got {subject_rgba.dtype} {subject_rgba.shape}"
        )
    if style == "as is":
        return subject_rgba.copy()
    picture = subject_rgba.astype(np.float32)
    rng = randomness.stream(randomness.STYLE, seed)
    rgb, alpha = chosen.subject(np.ascontiguousarray(picture[:, :, :3]), picture[:, :, 3] / 255.0, rng)
    return _to_uint8(np.dstack([rgb, alpha * 255.0]))


def style_background(background_rgb: np.ndarray, style: str, seed: int) -> np.ndarray:
    """Background in the same style (natural for gold): uint8 [H, W, 3] in and out, any size.

    Raises ValueError for an unknown style or a picture that is not uint8 RGB.
    """
    chosen = _style_of(style)
    if background_rgb.ndim != 3 or background_rgb.shape[2] != 3 or background_rgb.dtype != np.uint8:
        raise ValueError(
            f"background_rgb must be uint8 [H, W, 3], got {background_rgb.dtype} {background_rgb.shape}"
        )
    if chosen.background is painting.as_is_background:
        return background_rgb.copy()
    return _to_uint8(
        chosen.background(background_rgb.astype(np.float32), randomness.stream(randomness.STYLE, seed))
    )
