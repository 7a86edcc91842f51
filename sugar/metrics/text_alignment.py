"""Whether a video shows what the text says: the paper's CLIP score, and the video-text score."""

from typing import Any

import numpy as np

from sugar.metrics.arrays import as_array, check_widths, unit


def text_alignment(text_D: Any, frames_TD: Any) -> float:
    """Mean cosine between the text's feature and each frame's (SUGAR section 4.1).

    Args:
        text_D: CLIP feature of the text, any length.
        frames_TD: CLIP feature of each frame.

    Returns:
        a score in [-1, 1].
    """
    text = unit(as_array(text_D, "D", "text"))
    frames = unit(as_array(frames_TD, "TD", "frames"))
    check_widths(text, frames, "text and frames")
    return float(np.mean(frames @ text))


def paired_cosine(left_BD: Any, right_BD: Any) -> np.ndarray:
    """Cosine of row i of one set with row i of the other: [B]. The video-text score, and one-frame scores."""
    left = unit(as_array(left_BD, "BD", "left"))
    right = unit(as_array(right_BD, "BD", "right"))
    if left.shape != right.shape:
        raise ValueError(f"needs two sets of one shape, got {left.shape} and {right.shape}")
    return np.sum(left * right, axis=-1)
