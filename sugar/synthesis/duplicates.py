"""Near-duplicates: pictures whose perceptual hashes are close, or whose DINO features are."""

from __future__ import annotations

import itertools
from collections import defaultdict

import cv2
import numpy as np

HASH_BITS = 64


def perceptual_hash(image: np.ndarray) -> int:
    """64 bits that hardly change with size, compression and brightness: the signs of low frequencies.

    pHash: cosine transform of the 32 x 32 px grey picture, its 8 x 8 lowest frequencies but the mean, each
    above their median or not.

    Args:
        image: uint8 [H, W, 3], or [H, W, 4], which is laid on grey.
    """
    rgb = image[..., :3].astype(np.float32)
    if image.shape[2] == 4:
        alpha = image[..., 3:].astype(np.float32) / 255
        rgb = rgb * alpha + 128 * (1 - alpha)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    low = cv2.dct(cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA))[:8, :8].ravel()
    # Otherwise the noise of a flat picture decides its bits.
    bits = low > np.median(low[1:]) + 1e-3
    return int(np.packbits(bits).view(">u8")[0])


class HashIndex:
    """Finds hashes within a distance, without comparing all pairs.

    Of `max_distance + 1` bands of bits, two hashes so close share one at least: only those that share a band
    are compared.
    """

    def __init__(self, max_distance: int) -> None:
        if not 0 <= max_distance < HASH_BITS:
            raise ValueError(f"max_distance must be in [0, {HASH_BITS}), got {max_distance}")
        self.max_distance = max_distance
        edges = np.linspace(0, HASH_BITS, max_distance + 2).astype(int).tolist()
        self._bands = [(low, (1 << (high - low)) - 1) for low, high in itertools.pairwise(edges)]
        self._kept: defaultdict[tuple[int, int], list[tuple[int, str]]] = defaultdict(list)

    def near(self, number: int) -> str | None:
        """Name of a hash within the distance, or None."""
        for band in self._of(number):
            for other, name in self._kept.get(band, ()):
                if (number ^ other).bit_count() <= self.max_distance:
                    return name
        return None

    def add(self, number: int, name: str) -> None:
        """Keep a hash."""
        for band in self._of(number):
            self._kept[band].append((number, name))

    def _of(self, number: int) -> list[tuple[int, int]]:
        return [(i, (number >> low) & mask) for i, (low, mask) in enumerate(self._bands)]


class FeatureIndex:
    """Finds features of unit length above a cosine, among those of one group (a noun)."""

    def __init__(self, max_cosine: float) -> None:
        self.max_cosine = max_cosine
        self._kept: dict[str, tuple[np.ndarray, list[str]]] = {}

    def near(self, feature_D: np.ndarray, group: str) -> str | None:
        """Name of the nearest feature if its cosine is above the limit, else None."""
        if group not in self._kept:
            return None
        features, names = self._kept[group]
        cosines = features[: len(names)] @ feature_D
        best = int(cosines.argmax())
        return names[best] if cosines[best] > self.max_cosine else None

    def add(self, feature_D: np.ndarray, group: str, name: str) -> None:
        """Keep a feature; room doubles when it is full."""
        features, names = self._kept.get(group, (np.empty((4, feature_D.size), np.float32), []))
        if len(names) == len(features):
            features = np.concatenate([features, np.empty_like(features)])
        features[len(names)] = feature_D
        names.append(name)
        self._kept[group] = (features, names)
