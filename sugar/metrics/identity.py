"""Whether a video shows the subject of the reference image: the paper's DINO score."""

from typing import Any

import numpy as np

from sugar.metrics.arrays import as_array, check_widths, unit


def identity_score(reference_D: Any, frames_TD: Any) -> float:
    """Mean cosine between the reference image's feature and each frame's (SUGAR section 4.1).

    Args:
        reference_D: feature of the input image, any length.
        frames_TD: feature of each frame of the video.

    Returns:
        a score in [-1, 1].
    """
    reference = unit(as_array(reference_D, "D", "reference"))
    frames = unit(as_array(frames_TD, "TD", "frames"))
    check_widths(reference, frames, "reference and frames")
    return float(np.mean(frames @ reference))


def identity_scores(references_BD: Any, frames_BTD: Any) -> np.ndarray:
    """`identity_score` of many videos at once: [B]."""
    references = unit(as_array(references_BD, "BD", "references"))
    frames = unit(as_array(frames_BTD, "BTD", "frames"))
    check_widths(references, frames, "references and frames")
    if references.shape[0] != frames.shape[0]:
        raise ValueError(f"needs one reference a video, got {references.shape[0]} for {frames.shape[0]}")
    return np.einsum("btd,bd->bt", frames, references).mean(axis=-1)
