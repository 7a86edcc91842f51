"""Telling things apart by features: subject retrieval, and zero-shot classification with texts as the
gallery.

Axes: N queries, M entries of the gallery, D feature width.
"""

from typing import Any

import numpy as np

from sugar.metrics.arrays import as_array, check_widths, unit


def nearest(features_ND: Any, gallery_MD: Any) -> np.ndarray:
    """Index of the entry of the gallery with the highest cosine to each query: [N]; the first of equals."""
    features = unit(as_array(features_ND, "ND", "features"))
    gallery = unit(as_array(gallery_MD, "MD", "gallery"))
    check_widths(features, gallery, "features and gallery")
    return np.argmax(features @ gallery.T, axis=1)


def top1(features_ND: Any, gallery_MD: Any, targets: Any) -> float:
    """Share of queries whose nearest entry of the gallery is the right one.

    Args:
        features_ND: features of the queries, for a video the mean of its frames' (`video_feature`).
        gallery_MD: features to choose from: reference images of subjects, or texts of classes.
        targets: [N] index of each query's right entry.

    Raises:
        ValueError: when a target is no index of the gallery or there is not one a query.
    """
    wanted = np.asarray(targets.tolist() if hasattr(targets, "tolist") else targets, dtype=np.int64)
    found = nearest(features_ND, gallery_MD)
    if wanted.shape != found.shape:
        raise ValueError(f"needs one target a query, got {wanted.shape} for {found.shape}")
    if wanted.min() < 0 or wanted.max() >= len(gallery_MD):
        raise ValueError(f"targets must be in 0..{len(gallery_MD) - 1}, got {wanted.min()}..{wanted.max()}")
    return float(np.mean(found == wanted))


def video_feature(frames_TD: Any) -> np.ndarray:
    """One feature of a video: the mean of its frames' unit features, unit length again: [D]."""
    return unit(unit(as_array(frames_TD, "TD", "frames")).mean(axis=0))
