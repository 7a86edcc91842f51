"""Numbers of any origin as float64 arrays, checked once for all metrics."""

from typing import Any

import numpy as np

_SMALLEST_NORM = 1e-8


def as_array(values: Any, shape: str, name: str) -> np.ndarray:
    """`values` (array, tensor on any device, or nested list) as float64 with one axis a letter of `shape`.

    Raises:
        ValueError: for another number of axes, an empty axis, or a number that is not finite.
    """
    if hasattr(values, "detach"):
        values = values.detach().to("cpu").double().numpy()
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != len(shape) or 0 in array.shape:
        raise ValueError(f"{name} must be a filled [{', '.join(shape)}], got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got nan or infinity")
    return array


def unit(features: np.ndarray) -> np.ndarray:
    """Vectors along the last axis scaled to length 1; a zero vector stays zero (its cosine is 0)."""
    return features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), _SMALLEST_NORM)


def check_widths(left: np.ndarray, right: np.ndarray, names: str) -> None:
    """Raises ValueError when two sets of features differ in width."""
    if left.shape[-1] != right.shape[-1]:
        raise ValueError(f"{names} must have one width, got {left.shape[-1]} and {right.shape[-1]}")
