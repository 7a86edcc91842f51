"""Filters behind the styles: pencil, neon, gold, pixel art and watercolour, as procedures.

All work on float32 RGB [H, W, 3] in 0..255 and alpha [H, W] in 0..1. Lengths grow with the picture, so that
a 512 px photo and a 64 px sprite look alike.
"""

import cv2
import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
PAPER = np.array([243, 240, 232], dtype=np.float32)
GOLD_STOPS = (
    (0.00, (66, 34, 2)),
    (0.20, (140, 84, 6)),
    (0.45, (216, 154, 22)),
    (0.70, (255, 208, 62)),
    (0.88, (255, 240, 158)),
    (1.00, (255, 254, 236)),
)

Picture = tuple[np.ndarray, np.ndarray]
"""RGB [H, W, 3] and alpha [H, W], float32: 0..255 and 0..1."""


def _unit(picture: np.ndarray) -> float:
    """Length in pixels of a brush that is 1 px wide at a shorter side of 64.

    It grows more slowly than the picture: a large drawing shows finer lines than a small one enlarged.
    """
    relative = min(picture.shape[:2]) / 64.0
    return relative**0.8 if relative > 1 else relative


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REPLICATE)


def _noise(rng: np.random.Generator, height: int, width: int, cell: float) -> np.ndarray:
    """Smooth noise in about [-1, 1] with features of `cell` pixels, [H, W]."""
    cells = rng.random((max(2, round(height / cell)), max(2, round(width / cell))), dtype=np.float32)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC) * 2 - 1


def _filled(rgb: np.ndarray, alpha: np.ndarray, sigma: float) -> np.ndarray:
    """Colours of the subject continued outside its mask, so that filters meet no false edge."""
    weight = _blur(alpha, sigma)[:, :, None]
    spread = _blur(rgb * alpha[:, :, None], sigma) / np.maximum(weight, 1e-3)
    return rgb * alpha[:, :, None] + spread * (1 - alpha[:, :, None])


def _edges(rgb: np.ndarray, alpha: np.ndarray | None) -> np.ndarray:
    """Edge strength in [0, 1] of the picture and of the outline of its mask, [H, W]."""
    unit = _unit(rgb)
    soft = _blur(rgb, 0.6 * unit) if unit > 1.5 else rgb
    reach = max(1, round(0.75 * unit))
    kernel = np.ones((reach + 1, reach + 1), dtype=np.uint8)
    strength = cv2.morphologyEx(soft, cv2.MORPH_GRADIENT, kernel).max(axis=2) / 110.0
    if alpha is not None:
        strength = np.maximum(strength * alpha, cv2.morphologyEx(alpha, cv2.MORPH_GRADIENT, kernel))
    return np.clip(strength, 0, 1)


def as_is(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    return rgb, alpha


def as_is_background(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rgb


def _pencil_lines(
    rgb: np.ndarray, alpha: np.ndarray | None, rng: np.random.Generator, depth: float
) -> np.ndarray:
    """Graphite on paper: outlines, and hatching that grows denser where the picture is darker."""
    height, width = rgb.shape[:2]
    unit = _unit(rgb)
    grey = rgb @ LUMA / 255.0
    y, x = np.ogrid[:height, :width]
    turn = 1 if rng.random() < 0.5 else -1
    wobble = _noise(rng, height, width, 9 * unit)
    hatch = 0.5 + 0.5 * np.sin((x * turn + y) * (2 * np.pi / (3.6 * unit)) + wobble * 1.2)
    darkness = np.clip(1.0 - grey, 0, 1)
    strokes = np.clip(darkness * 1.9 - 0.25, 0, 1) * (0.62 + 0.38 * hatch) * darkness**0.5
    ink = strokes * depth + _edges(rgb, alpha) * 0.6 * (0.85 + 0.15 * wobble)
    grain = rng.random((height, width), dtype=np.float32) * 10 - 5
    tone = PAPER - (PAPER - 34) * np.clip(ink, 0, 1)[:, :, None]
    return tone + grain[:, :, None]


def pencil(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    return _pencil_lines(_filled(rgb, alpha, 1.5 * _unit(rgb)), alpha, rng, 0.78), alpha


def pencil_background(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _pencil_lines(_blur(rgb, 0.5 * _unit(rgb)), None, rng, 0.48)


def _vivid(rgb: np.ndarray) -> np.ndarray:
    """Same hue, full value, high saturation."""
    red, green, blue = cv2.split(rgb)
    low = np.minimum(np.minimum(red, green), blue)[:, :, None]
    high = np.maximum(np.maximum(red, green), blue)[:, :, None]
    chroma = np.maximum(high - low, 1e-3)
    pure = (rgb - low) / chroma
    # Near-grey colours have no hue worth amplifying: they glow pale blue.
    share = np.clip((chroma - 14) / 30, 0, 1)
    return 255 * (share * (0.12 + 0.88 * pure) + (1 - share) * np.array([0.70, 0.86, 1.0], dtype=np.float32))


def _glow(rgb: np.ndarray, edges: np.ndarray, fill: float) -> np.ndarray:
    unit = _unit(rgb)
    hue = _vivid(_blur(rgb, 1.1 * unit))
    tube = hue * edges[:, :, None]
    halo = _blur(tube, 1.6 * unit)
    core = 255 * np.clip(edges - 0.72, 0, 1)[:, :, None]
    return _vivid(rgb) * fill * (rgb.max(axis=2, keepdims=True) / 255) ** 2 + tube * 0.85 + halo * 0.75 + core


def _neon_tubes(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Bright outline, weaker inner edges, so that the pattern keeps its gaps."""
    inner = np.clip(_edges(rgb, None) * 1.15 - 0.30, 0, 1) * alpha
    return np.maximum(inner * 0.8, _edges(np.zeros_like(rgb), alpha))


def neon(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    unit = _unit(rgb)
    full = _filled(rgb, alpha, 1.5 * unit)
    lit = _glow(full, _neon_tubes(full, alpha), 0.34) + np.array([8, 4, 20], dtype=np.float32)
    aura = np.clip(_blur(alpha, 2.0 * unit) * 1.5, 0, 1) * 0.75
    return lit, np.maximum(alpha, aura)


def neon_background(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    dark = np.array([14, 9, 32], dtype=np.float32)
    return dark + _glow(rgb, _edges(rgb, None), 0.0) * 0.30 + rgb * 0.07


def gold(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    unit = _unit(rgb)
    grey = _filled(rgb, alpha, 1.5 * unit) @ LUMA / 255.0
    solid = grey[alpha > 0.5]
    low, high = np.percentile(solid, (3, 97)).tolist() if solid.size else (0.0, 1.0)
    # Half of the contrast is stretched, so that a dark subject is a darker gold than a pale one.
    stretched = (0.6 * np.clip((grey - low) / max(high - low, 0.2), 0, 1) + 0.4 * grey) ** 1.1
    soft = _blur(stretched, 1.2 * unit)
    relief = cv2.Sobel(soft, cv2.CV_32F, 1, 1, ksize=3) * unit
    height, width = grey.shape
    y, x = np.ogrid[:height, :width]
    gleam = np.cos((x + 0.7 * y) * (2 * np.pi / (26 * unit)) + rng.random() * 6.28) ** 8
    tone = np.clip(stretched * 0.86 + 0.04 + relief * 0.5 + gleam * 0.16 * (stretched > 0.22), 0, 1)
    positions = [stop for stop, _ in GOLD_STOPS]
    channels = [np.interp(tone, positions, [colour[c] for _, colour in GOLD_STOPS]) for c in range(3)]
    return np.stack(channels, axis=2).astype(np.float32), alpha


def _few_colours(rgb: np.ndarray, used: np.ndarray, num_colours: int) -> np.ndarray:
    """The used pixels in `num_colours` colours of their own, by k-means from lightness classes, vivid."""
    grey = (rgb @ LUMA)[:, :, None]
    vivid = np.clip(grey + (rgb - grey) * 1.35, 0, 255)
    pixels = np.ascontiguousarray(vivid[used], dtype=np.float32)
    if len(pixels) < num_colours:
        return vivid
    order = np.argsort(pixels @ (LUMA + np.array([0.35, 0, -0.2], dtype=np.float32)), kind="stable")
    first = np.empty((len(pixels), 1), dtype=np.int32)
    first[order, 0] = np.arange(len(pixels)) * num_colours // len(pixels)
    stop = (cv2.TERM_CRITERIA_COUNT, 8, 0.0)
    _, labels, centres = cv2.kmeans(pixels, num_colours, first, stop, 1, cv2.KMEANS_USE_INITIAL_LABELS)
    vivid[used] = centres[np.asarray(labels[:, 0], dtype=np.intp)]
    return vivid


def _blocks(image: np.ndarray, block_px: float) -> tuple[int, int]:
    """Size in blocks (width, height) of a picture whose blocks have `block_px` pixels at 64."""
    height, width = image.shape[:2]
    block = max(1.0, block_px * min(height, width) / 64.0)
    return max(2, round(width / block)), max(2, round(height / block))


def pixel_art(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    height, width = alpha.shape
    blocks = _blocks(rgb, 3.4)
    small_alpha = cv2.resize(alpha, blocks, interpolation=cv2.INTER_AREA)
    small = cv2.resize(rgb * alpha[:, :, None], blocks, interpolation=cv2.INTER_AREA)
    solid = small_alpha > 0.35
    small = _few_colours(small / np.maximum(small_alpha, 1e-3)[:, :, None], solid, 9)
    size = (width, height)
    return (
        cv2.resize(small, size, interpolation=cv2.INTER_NEAREST),
        cv2.resize(solid.astype(np.float32), size, interpolation=cv2.INTER_NEAREST),
    )


def pixel_art_background(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    small = cv2.resize(rgb, _blocks(rgb, 4.0), interpolation=cv2.INTER_AREA)
    small = _few_colours(small, np.ones(small.shape[:2], dtype=bool), 10)
    return cv2.resize(small, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_NEAREST)


def _washed(rgb: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Soft pastel washes on rough paper."""
    height, width = rgb.shape[:2]
    unit = _unit(rgb)
    wet = _blur(rgb, 0.7 * unit)
    pigment = 0.80 + 0.20 * _noise(rng, height, width, 10 * unit)
    pigment += 0.10 * _noise(rng, height, width, 2.5 * unit)
    wash = PAPER + 12 - (PAPER + 12 - wet) * (pigment * strength)[:, :, None]
    return wash + rng.random((height, width, 1), dtype=np.float32) * 8 - 4


def _wobbled(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The picture bent by smooth noise: the uneven edge of a brush."""
    height, width = image.shape[:2]
    unit = _unit(image)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    dx, dy = _noise(rng, height, width, 7 * unit), _noise(rng, height, width, 7 * unit)
    reach = 1.6 * unit
    at_x, at_y = x + dx * reach, y + dy * reach
    return cv2.remap(image, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def watercolour(rgb: np.ndarray, alpha: np.ndarray, rng: np.random.Generator) -> Picture:
    unit = _unit(rgb)
    lifted = 60 + rgb * (195 / 255)
    bent = _wobbled(np.dstack([_filled(lifted, alpha, 1.5 * unit), alpha]), rng)
    mask = np.clip(_blur(np.ascontiguousarray(bent[:, :, 3]), 1.0 * unit) * 1.25 - 0.08, 0, 1)
    painted = _washed(np.ascontiguousarray(bent[:, :, :3]), rng, 1.08)
    # Pigment gathers where the wash ends.
    pooled = np.clip(1 - np.abs(_blur(mask, 1.2 * unit) - 0.62) * 3.2, 0, 1)[:, :, None]
    return painted * (1 - 0.25 * pooled), mask * 0.94


def watercolour_background(rgb: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return _washed(_wobbled(rgb, rng), rng, 0.74)
