"""How steady a video's frames are: VBench's subject and background consistency, and the filters' two
measures.

Axes: B videos, T frames, D feature width.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sugar.metrics.arrays import as_array, unit


def temporal_consistency(features_TD: Any) -> float:
    """VBench's consistency of one video, on DINO features (subject) or CLIP features (background).

    1/(T-1) * sum over t >= 2 of (max(0, cos(f_t, f_{t-1})) + max(0, cos(f_t, f_1))) / 2

    Args:
        features_TD: a feature vector a frame, at least two frames; any length, they are normalised here.

    Returns:
        a score in [0, 1], 1 when all frames have one direction.

    Raises:
        ValueError: for fewer than two frames, another shape or numbers that are not finite.
    """
    features = unit(as_array(features_TD, "TD", "features"))
    _at_least_two(features.shape[0])
    previous = np.sum(features[1:] * features[:-1], axis=-1)
    first = features[1:] @ features[0]
    return float(np.mean((np.maximum(previous, 0.0) + np.maximum(first, 0.0)) / 2.0))


def set_consistency(videos: Sequence[Any]) -> float:
    """VBench's consistency of a set of videos: each weighted by its number of compared frames, T - 1."""
    if not videos:
        raise ValueError("set_consistency needs at least one video")
    weights = [len(features_TD) - 1 for features_TD in videos]
    scores = [temporal_consistency(features_TD) for features_TD in videos]
    return float(np.average(scores, weights=weights))


def consecutive_similarity(features_BTD: Any) -> np.ndarray:
    """Mean cosine of neighbouring frames of each video (SUGAR section 3.1, video-level filtering): [B]."""
    features = unit(as_array(features_BTD, "BTD", "features"))
    _at_least_two(features.shape[1])
    return np.sum(features[:, 1:] * features[:, :-1], axis=-1).mean(axis=-1)


def random_pair_similarity(features_BTD: Any) -> np.ndarray:
    """Mean cosine of two frames drawn at random from each video (SUGAR section 3.1): [B].

    The paper samples pairs; this is the expectation over all pairs, so it needs no seed:
    (|sum of f_t|^2 - sum of |f_t|^2) / (T (T - 1)) of normalised features.
    """
    features = unit(as_array(features_BTD, "BTD", "features"))
    frames = features.shape[1]
    _at_least_two(frames)
    total = np.square(features.sum(axis=1)).sum(axis=-1) - np.square(features).sum(axis=(1, 2))
    return total / (frames * (frames - 1))


def _at_least_two(num_frames: int) -> None:
    if num_frames < 2:
        raise ValueError(f"consistency compares at least two frames, got {num_frames}")
