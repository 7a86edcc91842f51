"""How well a video's pictures are taken: sharpness and exposure.

Axes: B videos, T frames, H W height and width, C channels.
"""

import cv2
import numpy as np

BLACK, BLOWN = 8, 247
"""Luma (Rec. 601) from which on a pixel shows something, and up to which it does."""

MAX_FRAMES = 16


def sharpness(frames_BTHWC: np.ndarray) -> np.ndarray:
    """Variance of the Laplacian of the luma, the median over at most 16 even-spaced frames: float64 [B].

    The focus measure "LAPV" of Pech-Pacheco et al., 2000, on luma 0 to 255; a flat picture has 0. It grows
    with the contrast and depends on the size of the frames: compare videos of one size.

    Raises:
        ValueError: not uint8 [B, T, H, W, 3] with sides of at least 3 pixels.
    """
    luma = _luma(frames_BTHWC)
    if min(luma.shape[2:]) < 3:
        raise ValueError(f"sharpness needs sides of >= 3 pixels, got {luma.shape[2]}x{luma.shape[3]}")
    # All frames as one tall picture; at the borders of a frame it mixes frames, and they are left out.
    tall = cv2.Laplacian(luma.reshape(-1, luma.shape[3]), cv2.CV_32F).reshape(luma.shape)
    inside = tall[..., 1:-1, 1:-1].reshape(*luma.shape[:2], -1)
    variances = np.square(inside).mean(axis=-1) - np.square(inside.mean(axis=-1))
    return np.median(np.maximum(variances, 0), axis=1).astype(np.float64)


def exposure(frames_BTHWC: np.ndarray) -> np.ndarray:
    """Share of pixels that are neither black (luma < 8) nor blown out (luma > 247): float64 [B] in [0, 1].

    Of at most 16 even-spaced frames.

    Raises:
        ValueError: not uint8 [B, T, H, W, 3].
    """
    luma = _luma(frames_BTHWC)
    shows = ((luma >= BLACK) & (luma <= BLOWN)).reshape(len(luma), -1)
    return np.count_nonzero(shows, axis=1) / shows.shape[1]


def _luma(frames_BTHWC: np.ndarray) -> np.ndarray:
    """Luma uint8 [B, T, H, W] of at most `MAX_FRAMES` frames, evenly spaced."""
    if frames_BTHWC.dtype != np.uint8 or frames_BTHWC.ndim != 5 or frames_BTHWC.shape[-1] != 3:
        raise ValueError(
            f"frames must be uint8 [B, T, H, W, 3], got {frames_BTHWC.dtype} {frames_BTHWC.shape}"
        )
    num_frames = frames_BTHWC.shape[1]
    if num_frames > MAX_FRAMES:
        frames_BTHWC = frames_BTHWC[:, np.linspace(0, num_frames - 1, MAX_FRAMES).round().astype(int)]
    tall = np.ascontiguousarray(frames_BTHWC).reshape(-1, frames_BTHWC.shape[3], 3)
    return cv2.cvtColor(tall, cv2.COLOR_RGB2GRAY).reshape(frames_BTHWC.shape[:4])
