"""The picture of a subject: labels from the pen, colours from the palette, soft shading."""

from functools import lru_cache

import cv2
import numpy as np

from sugar.sprites import randomness
from sugar.sprites.identity import Identity, Rgb
from sugar.sprites.nouns import NOUNS
from sugar.sprites.pen import HALF_EXTENT, LABEL_OF, LABELS, Pen

FILL = 0.92
"""Share of the picture's side that the subject's longer side takes."""
SECOND_COLOUR = 128
"""Bit set in a label where the pattern shows its second colour."""
FIXED_COLOURS: dict[str, Rgb] = {
    "white": (250, 250, 248),
    "dark": (34, 28, 38),
    "cream": (250, 224, 194),
    "blush": (246, 150, 160),
    "metal": (150, 158, 172),
    "glass": (186, 228, 246),
    "flame": (255, 206, 60),
    "ember": (242, 104, 46),
    "leaf": (116, 182, 82),
    "wood": (138, 92, 58),
}


@lru_cache(maxsize=8)
def _grid(canvas_px: int) -> tuple[np.ndarray, np.ndarray]:
    axis = ((np.arange(canvas_px, dtype=np.float32) + 0.5) / canvas_px * 2 - 1) * HALF_EXTENT
    return axis[None, :], axis[:, None]


@lru_cache(maxsize=8)
def _dither(canvas_px: int) -> np.ndarray:
    bayer = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], dtype=np.float32)
    return np.tile((bayer + 0.5) / 16, (canvas_px // 4 + 1, canvas_px // 4 + 1))[:canvas_px, :canvas_px]


def pattern_mask(identity: Identity, canvas_px: int) -> np.ndarray:
    """Where the pattern shows the secondary colour: bool [canvas_px, canvas_px]."""
    rng = randomness.stream(randomness.PATTERN, identity.seed)
    period, phase_x, phase_y, lean = rng.random(4).tolist()
    period = 0.36 + 0.16 * period
    x, y = _grid(canvas_px)
    u, v = x / period + phase_x, y / period + phase_y
    kind = identity.pattern
    if kind == "stripes":
        return np.broadcast_to(v % 1 < 0.45, (canvas_px, canvas_px))
    if kind == "diagonal":
        return (u * (0.8 if lean < 0.5 else -0.8) + v * 0.8) % 1 < 0.45
    if kind == "dots":
        row = np.floor(v)
        return ((u + 0.5 * (row % 2)) % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.11
    if kind == "checks":
        return (np.floor(u * 1.25) + np.floor(v * 1.25)) % 2 < 1
    if kind == "patches":
        noise = cv2.resize(
            rng.random((6, 6), dtype=np.float32), (canvas_px, canvas_px), interpolation=cv2.INTER_CUBIC
        )
        return noise > 0.56
    if kind == "gradient":
        ramp = (y + (0.6 if lean < 0.5 else -0.6) * x) * 0.75 + 0.5
        return ramp > _dither(canvas_px)
    if kind == "zigzag":
        return (v + 0.6 * np.abs(u % 1 - 0.5) * 2) % 1 < 0.42
    return np.zeros((canvas_px, canvas_px), dtype=bool)


def _mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def _lookup_table(identity: Identity) -> np.ndarray:
    """Colours of all labels, uint8 [1, 256, 4]: RGB premultiplied with alpha, and alpha."""
    palette = identity.palette
    colours = {
        "outline": _mix(palette.primary, (24, 16, 30), 0.80),
        "pattern": palette.primary,
        "primary": palette.primary,
        "secondary": palette.secondary,
        "accent": palette.accent,
        "light": _mix(palette.primary, (255, 250, 240), 0.66),
        "deep": _mix(palette.primary, (40, 24, 60), 0.42),
        **FIXED_COLOURS,
    }
    table = np.zeros((1, 256, 4), dtype=np.uint8)
    for number, name in enumerate(LABELS):
        if name != "nothing":
            table[0, number] = (*colours[name], 255)
    table[0, LABEL_OF["pattern"] | SECOND_COLOUR] = (*palette.secondary, 255)
    return table


_INTERIOR = np.zeros(256, dtype=np.uint8)
_INTERIOR[2:] = 255


def _shading(interior: np.ndarray) -> np.ndarray:
    """Light from the top left on every outlined part: float32 [S, S], about -0.3..0.3, from the fill mask."""
    size = interior.shape[0]
    sigma = size / 18
    soft = cv2.GaussianBlur(interior, (0, 0), sigma)
    step = max(1, round(size / 24))
    shift = np.array([[1, 0, step], [0, 1, step]], dtype=np.float32)
    from_top_left = cv2.warpAffine(soft, shift, (size, size))
    to_bottom_right = cv2.warpAffine(soft, shift, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return (to_bottom_right - from_top_left) * 0.42


def draw_subject(identity: Identity, size_px: int = 64) -> np.ndarray:
    """Picture of an identity: uint8 [size_px, size_px, 4], straight alpha, centred, filling 92 % of the side.

    Raises ValueError for size_px < 8.
    """
    if size_px < 8:
        raise ValueError(f"size_px must be >= 8, got {size_px}")
    canvas_px = size_px * (3 if size_px <= 128 else 2)
    pen = Pen(canvas_px)
    NOUNS[identity.noun].draw(pen, identity.proportions)
    labels = pen.labels
    x, y, width, height = cv2.boundingRect(labels)
    if identity.pattern != "plain":
        second = pattern_mask(identity, canvas_px) & (labels == LABEL_OF["pattern"])
        labels |= second.view(np.uint8) << 7
    labels = np.ascontiguousarray(labels[y : y + height, x : x + width])
    scale = FILL * size_px / max(width, height)
    out_w, out_h = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = (size_px - out_w) // 2, (size_px - out_h) // 2

    def fitted(layer: np.ndarray) -> np.ndarray:
        small = cv2.resize(layer, (out_w, out_h), interpolation=cv2.INTER_AREA)
        return cv2.copyMakeBorder(
            small,
            top,
            size_px - out_h - top,
            left,
            size_px - out_w - left,
            cv2.BORDER_CONSTANT,
            value=(0, 0, 0, 0),
        )

    coloured = cv2.LUT(cv2.merge([labels] * 4), _lookup_table(identity))
    rgba = fitted(coloured).astype(np.float32)
    alpha = rgba[:, :, 3:]
    shade = _shading(fitted(cv2.LUT(labels, _INTERIOR)).astype(np.float32) / 255)[:, :, None]
    rgb = rgba[:, :, :3] * (255.0 / np.maximum(alpha, 1.0))
    rgb += np.where(shade > 0, (255 - rgb) * shade, rgb * shade * 1.1)
    return np.concatenate([np.clip(rgb, 0, 255), alpha], axis=2).round().astype(np.uint8)
